import Host
import Schema
import Testing
import Virtio
import Virtqueue

@testable import VhostUser

/// What becomes of the queues when a back-end cannot take another one's place after all.
@Suite("Front-end: a back-end that does not become the device")
struct FailedReplacementTests {
    /// All queues stand there.
    private static let place = QueuePosition(available: 7, used: 7)
    private static let bases = [RingState(index: 0, value: 7), RingState(index: 1, value: 7)]

    /// A rig whose queues have come so far, which only its back-end and the rings know.
    private func rig(_ script: FakeBackEnd.Script = FakeBackEnd.Script(ringBase: 7)) throws -> FrontendRig {
        let rig = try FrontendRig(script)
        try rig.activate()
        for index in 0..<FrontendRig.queueCount { rig.write(available: 7, used: 7, queue: index) }
        return rig
    }

    @Test("A wake that fails leaves the queues where they stood, for another one")
    func wake() throws {
        let rig = try rig()
        #expect(throws: DeviceError.self) { try rig.sleepAndWake { rig.fake.leave() } }
        #expect(try rig.sleep() == [Self.place, Self.place])
        let other = try FakeBackEnd(FakeBackEnd.Script(ringBase: 7))
        try rig.replace(by: other)
        #expect(try rig.sleep() == nil)
    }

    @Test("A queue that a back-end got in a wake that failed stands where the ring says")
    func halfAWake() throws {
        let rig = try rig()
        #expect(throws: DeviceError.self) { try rig.sleepAndWake { rig.fake.twist(.setStatus, .leave) } }
        #expect(throws: DeviceError.self) { try rig.sleep() }
        let third = try FakeBackEnd(FakeBackEnd.Script(ringBase: 7))
        try rig.replace(by: third)
        #expect(third.bases == Self.bases)
        // The machine sleeps: they stand until it wakes.
        #expect(third.requests.suffix(3).filter { $0 == .getRingBase }.count == 2)
        #expect(try rig.sleep() == [Self.place, Self.place])
    }

    @Test(
        "What refuses a part of the device is not left with it, and queues that it did not get are not taken to stand where they stood long ago",
        arguments: [FrontEndRequest.setFeatures, .setMemoryTable, .setRingBase, .setRingEnable, .setStatus])
    func refusal(_ request: FrontEndRequest) throws {
        let rig = try rig()
        rig.fake.leave()
        let other = try FakeBackEnd(FakeBackEnd.Script(requests: [request: .answer(.number(1))]))
        #expect(throws: VhostUserError.self) { try rig.replace(by: other) }
        #expect(rig.frontend.failure != nil)
        #expect(throws: DeviceError.self) { try rig.sleep() }
        let third = try FakeBackEnd(FakeBackEnd.Script(ringBase: 7))
        try rig.replace(by: third)
        #expect(third.bases == Self.bases)
        #expect(try rig.sleep() == [Self.place, Self.place])
    }

    @Test(
        "One that fails before it has any ring leaves the device to the old one", arguments: [FrontEndRequest.setFeatures, .setMemoryTable])
    func early(_ request: FrontEndRequest) throws {
        let rig = try rig()
        let other = try FakeBackEnd(FakeBackEnd.Script(requests: [request: .leave]))
        #expect(throws: VhostUserError.self) { try rig.replace(by: other, orderly: true) }
        #expect(rig.frontend.failure == nil)
        #expect(rig.fake.bases.suffix(2) == Self.bases)
        #expect(try rig.sleep() == [Self.place, Self.place])
    }

    @Test("One that fails when it has rings may have processed some requests, of which the old one knows nothing")
    func late() throws {
        let rig = try rig()
        let other = try FakeBackEnd(FakeBackEnd.Script(requests: [.setStatus: .leave]))
        #expect(throws: VhostUserError.self) { try rig.replace(by: other, orderly: true) }
        #expect(rig.frontend.failure != nil)
        #expect(rig.fake.bases.count == 2)
        for index in 0..<FrontendRig.queueCount { rig.write(used: 9, queue: index) }
        let third = try FakeBackEnd(FakeBackEnd.Script(ringBase: 9))
        try rig.replace(by: third)
        #expect(third.bases == Self.bases.map { RingState(index: $0.index, value: 9) })
    }

    @Test("An old one that does not give its queues back has them still, as far as anybody knows")
    func oldOneHangs() throws {
        let rig = try rig(FakeBackEnd.Script(requests: [.getRingBase: .leave]))
        #expect(throws: VhostUserError.self) { try rig.replace(by: FakeBackEnd(), orderly: true) }
        #expect(rig.frontend.failure != nil)
        let third = try FakeBackEnd(FakeBackEnd.Script(ringBase: 7))
        try rig.replace(by: third)
        #expect(third.bases == Self.bases)
    }

    @Test("The guest does not see the configuration space of one that was refused, and hears of the next one's")
    func space() throws {
        let rig = try rig()
        let before = rig.configuration()
        rig.fake.leave()
        let fresh = before.map { ~$0 }
        let other = try FakeBackEnd(FakeBackEnd.Script(requests: [.setStatus: .answer(.number(1))]))
        other.set(configuration: fresh)
        #expect(throws: VhostUserError.self) { try rig.replace(by: other) }
        #expect(rig.configuration() == before)
        #expect(rig.interrupts.configurationChanges == 0)
        let third = try FakeBackEnd(FakeBackEnd.Script(ringBase: 7))
        third.set(configuration: fresh)
        try rig.replace(by: third)
        #expect(rig.configuration() == fresh)
        #expect(rig.interrupts.configurationChanges == 1)
    }

    @Test("What one says of itself before it is accepted is not for the guest", arguments: [false, true])
    func word(_ isOrderly: Bool) throws {
        let rig = try rig()
        let before = rig.configuration()
        if !isOrderly { rig.fake.leave() }
        let other = try FakeBackEnd(FakeBackEnd.Script(requests: [.setMemoryTable: .silence]))
        other.set(configuration: before.map { ~$0 }, status: 64)
        let asking = try WorkerThread(name: "asking", state: false) { answered, _ in
            // The front-end waits for an answer that does not come meanwhile.
            defer { other.leave() }
            guard other.wait(for: .setMemoryTable), let channel = try? other.channel() else { return }
            let header = MessageHeader(request: BackEndRequest.configurationChanged.rawValue, needsReply: true, size: 0)
            guard (try? channel.send(header, [])) != nil, let answer = try? channel.next() else { return }
            answered = answer.header.isReply
        }
        #expect(throws: VhostUserError.self) { try rig.replace(by: other, orderly: isOrderly) }
        #expect(asking.stop() == true)
        #expect(rig.configuration() == before)
        #expect(rig.interrupts.resets == 0)
        #expect(rig.interrupts.configurationChanges == 0)
    }

    @Test("What one says before it has the whole device is heard as soon as it has it", arguments: [false, true])
    func earlyWord(_ isOrderly: Bool) throws {
        let rig = try rig()
        if !isOrderly { rig.fake.leave() }
        let other = try FakeBackEnd()
        // It finds a ring broken when it gets it, say.
        other.before(.setStatus) {
            guard let channel = try? other.channel() else { return }
            other.set(status: 64)
            let header = MessageHeader(request: BackEndRequest.configurationChanged.rawValue, needsReply: true, size: 0)
            guard (try? channel.send(header, [])) != nil else { return }
            _ = try? channel.next()
        }
        try rig.replace(by: other, orderly: isOrderly)
        #expect(rig.interrupts.resets == 1)
    }

    @Test("A request of the control side that was refused is not made again")
    func control() throws {
        var script = FakeBackEnd.Script(ringBase: 7)
        script.protocolFeatures.insert(.control)
        var refusing = script
        refusing.requests = [.control: .answer(.number(1))]
        let rig = try rig(refusing)
        #expect(throws: DeviceError.self) { try rig.frontend.controlNotify(["size": 1]) }
        let other = try FakeBackEnd(script)
        try rig.replace(by: other, orderly: true)
        #expect(!other.requests.contains(.control))
        try rig.frontend.controlNotify(["size": 2])
        let third = try FakeBackEnd(script)
        try rig.replace(by: third, orderly: true)
        #expect(third.requests.contains(.control))
    }
}
