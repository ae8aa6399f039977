import Host
import Testing
import Virtio
import Virtqueue

@testable import VhostUser

@Suite("Front-end: a back-end that fails while it works")
struct ActivationTests {
    typealias Script = FakeBackEnd.Script
    typealias Twist = FakeBackEnd.Twist

    private static let queueSteps: [FrontEndRequest] = [
        .setRingSize, .setRingBase, .setRingAddresses, .setRingCall, .setRingKick, .setRingEnable,
    ]
    /// What activation sends.
    static let steps: [FrontEndRequest] = [.setFeatures, .setMemoryTable] + queueSteps + queueSteps + [.setStatus]
    /// The number of its first message.
    static let first = GreetingTests.greeting.count

    @Test("Activation tells everything, sleep asks where the queues stand, and waking begins there", arguments: [false, true])
    func good(_ packed: Bool) throws {
        let rig = try FrontendRig(packed: packed)
        try rig.activate()
        #expect(Array(rig.fake.requests.dropFirst(Self.first)) == Self.steps)
        #expect(try rig.sleep() == [.initial, .initial])
        #expect(try rig.sleep() == nil)
        try rig.activate()
        #expect(try rig.frontend.stopQueue(1) != nil)
        #expect(try rig.frontend.stopQueue(1) == nil)
        #expect(try rig.frontend.stopQueue(7) == nil)
        try rig.startQueue(1)
        #expect(throws: DeviceError.self) { try rig.startQueue(1) }
        try rig.frontend.reset()
        let count = rig.fake.requests.count
        #expect(rig.fake.requests.last == .setStatus)
        try rig.frontend.reset()
        #expect(throws: DeviceError.self) { try rig.startQueue(0) }
        #expect(rig.fake.requests.count == count)
    }

    @Test("RAM and features are told once, as long as they are the same")
    func memoryOnce() throws {
        let rig = try FrontendRig()
        for _ in 0..<3 {
            try rig.activate()
            _ = try rig.sleep()
        }
        #expect(rig.fake.requests.count { $0 == .setMemoryTable } == 1)
        #expect(rig.fake.requests.count { $0 == .setFeatures } == 1)
    }

    /// Asserts that nothing is asked any more, and that nothing hangs.
    private func expectEnd(_ rig: FrontendRig) throws {
        #expect(rig.frontend.link.connection.failure != nil)
        let count = rig.fake.requests.count
        for _ in 0..<3 { #expect(throws: DeviceError.self) { try rig.activate() } }
        rig.frontend.writeConfiguration(at: 0, from: [1].span)
        _ = try? rig.sleep()
        _ = try? rig.frontend.stopQueue(0)
        _ = try? rig.startQueue(0)
        try? rig.frontend.reset()
        #expect(rig.fake.requests.count == count)
        // The last known configuration can still be read.
        #expect(rig.configuration(count: 2) == [0, 1])
    }

    static let endings: [Twist] = [.leave, .wrongRequest, .noReply, .short, .long, .badVersion, .hugeSize, .cut]

    @Test("A back-end that goes wrong at any step of activation is done with", arguments: steps.indices, endings)
    func activation(_ step: Int, _ twist: Twist) throws {
        let rig = try FrontendRig(Script(steps: [Self.first + step: twist]))
        let error = try #require(throws: DeviceError.self, performing: { try rig.activate() })
        #expect(error.description.hasPrefix("fake: "))
        if twist != .leave { #expect(error.description.contains(Self.steps[step].name), "\(error)") }
        #expect(rig.fake.requests.count == Self.first + step + 1)
        try expectEnd(rig)
    }

    @Test("A back-end that does not answer any more is done with", arguments: [0, 5, steps.count])
    func silence(_ step: Int) throws {
        // Long enough for all that is answered before.
        let rig = try FrontendRig(Script(steps: [Self.first + step: .silence]), patience: 1000)
        let error = try #require(
            throws: DeviceError.self,
            performing: {
                try rig.activate()
                _ = try rig.sleep()
            })
        #expect(error.description.hasPrefix("fake: The peer does not answer, asked for "))
        #expect(rig.frontend.link.connection.failure?.kind == .silence)
        for _ in 0..<100 { #expect(throws: DeviceError.self) { try rig.activate() } }
    }

    @Test("A refusal at any step of activation is an error that names it", arguments: steps.indices)
    func refusal(_ step: Int) throws {
        let rig = try FrontendRig(Script(steps: [Self.first + step: .answer(.number(1))]))
        let error = try #require(throws: DeviceError.self, performing: { try rig.activate() })
        #expect(error.description == "fake: The back-end refuses \(Self.steps[step].name) (1).")
        // It still answers, so that it can be reset and tried again.
        try rig.frontend.reset()
        try rig.activate()
    }

    @Test("A back-end that goes wrong when a queue is to stop is done with", arguments: [0, 1], endings)
    func sleep(_ queue: Int, _ twist: Twist) throws {
        let rig = try FrontendRig(Script(steps: [Self.first + Self.steps.count + queue: twist]))
        try rig.activate()
        let error = try #require(throws: DeviceError.self, performing: { _ = try rig.sleep() })
        if twist != .leave { #expect(error.description.contains("GET_VRING_BASE"), "\(error)") }
        try expectEnd(rig)
    }

    /// Words with which no queue of 64 can stand where it says; its used index is 0.
    static let absurd: [(isPacked: Bool, word: UInt32)] =
        [65, 0x7fff, 0xffff].map { (false, $0) }
        + [0x40, 0x7fff_7fff, 0xffff_ffff, 0x8000_8040, 0x0040_8000, 0x8001_8000].map { (true, $0) }

    @Test("A queue that is said to stand where it cannot", arguments: absurd)
    func absurdBase(_ isPacked: Bool, _ word: UInt32) throws {
        let answer = BackEndReply.ring(RingState(index: 0, value: word))
        let script = Script(steps: [Self.first + Self.steps.count: .answer(answer)])
        for action in [{ _ = try $0.sleep() }, { _ = try $0.frontend.stopQueue(0) }]
            as [(FrontendRig) throws -> Void]
        {
            let rig = try FrontendRig(script, packed: isPacked)
            try rig.activate()
            let error = try #require(throws: DeviceError.self, performing: { try action(rig) })
            #expect(error.description.contains("queue 0"))
        }
    }

    @Test("An answer for another queue")
    func otherQueue() throws {
        let answer = BackEndReply.ring(RingState(index: 1, value: 0))
        let rig = try FrontendRig(Script(steps: [Self.first + Self.steps.count: .answer(answer)]))
        try rig.activate()
        let error = try #require(throws: DeviceError.self, performing: { _ = try rig.sleep() })
        #expect(error.description == "fake: GET_VRING_BASE for queue 0 was answered for queue 1.")
    }

    @Test("A front-end without what it needs of its own side says so")
    func ownSide() throws {
        final class Mute: InterruptSink {
            func queueUsed(_ queue: Int) {}
            func configurationChanged() {}
            func deviceNeedsReset() {}
        }
        let secret = try FrontendRig(isShared: false)
        let error = #expect(throws: DeviceError.self) { try secret.activate() }
        #expect(error?.description.contains("private") == true)
        let mute = try FrontendRig()
        #expect(throws: DeviceError.self) { try mute.activate(interrupt: Mute()) }
    }

    @Test("A connection that is abandoned from another thread ends a request that waits")
    func abandoned() throws {
        let pair = try SocketPair()
        let connection = try BackEndConnection(try pair.first.duplicate(), patience: Timeout.patience)
        let peer = try RawPeer(try pair.second.duplicate())
        let worker = try WorkerThread(name: "asker", state: VhostUserError?.none) { failure, _ in
            do throws(VhostUserError) { _ = try connection.number(.getFeatures) } catch { failure = error }
        }
        // The question is out, so it waits.
        #expect(try peer.receive() != nil)
        connection.close()
        let failure = try #require(worker.stop() ?? nil)
        #expect(failure.kind == .departure)
        #expect(connection.failure?.kind == .departure)
    }
}
