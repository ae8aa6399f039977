import Host
import Testing
import Virtio

@testable import VhostUser

/// What may happen to requests when a back-end leaves that keeps no notes of them.
@Suite("Front-end: a back-end that leaves for good")
struct ContinuityTests {
    @Test("A disk's requests that were in flight keep another back-end away; those that come later do not")
    func whenIdle() throws {
        let rig = try FrontendRig(continuity: .whenIdle)
        try rig.activate()
        // The indices have gone round.
        rig.write(available: 2, used: 65535, queue: 1)
        let obstacle = try #require(rig.frontend.noteLeft().obstacle)
        #expect(obstacle.contains("in flight (3)"))
        #expect(obstacle.contains("VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD"))
        rig.write(used: 2, queue: 1)
        #expect(rig.frontend.noteLeft().obstacle == nil)
        // Nor does it know what such a back-end had only in its own memory.
        #expect(rig.frontend.noteLeft().caveat?.contains("not flushed") == true)
        // Nobody has seen this one.
        rig.write(available: 3, queue: 1)
        #expect(rig.frontend.noteLeft().obstacle == nil)
        #expect(rig.frontend.failure?.description == "The back-end has left.")
    }

    @Test("Packets may come twice or not at all, but a packed ring's place must be known")
    func anyRequest() throws {
        let split = try FrontendRig()
        try split.activate()
        split.write(available: 9, used: 0, queue: 0)
        #expect(split.frontend.noteLeft().obstacle == nil)
        let packed = try FrontendRig(packed: true)
        try packed.activate()
        #expect(packed.frontend.noteLeft().obstacle?.contains("packed") == true)
    }

    @Test("What a back-end knew of its driver goes with it")
    func noContinuity() throws {
        let rig = try FrontendRig(continuity: .none)
        #expect(rig.frontend.noteLeft().obstacle == nil)
        let used = try FrontendRig(continuity: .none)
        used.frontend.acknowledge([.version1])
        #expect(used.frontend.noteLeft().obstacle?.contains("open files") == true)
    }

    @Test("Requests after which a connection has failed are not sent to one that works")
    func failure() throws {
        let rig = try FrontendRig(FakeBackEnd.Script(requests: [.setFeatures: .wrongRequest]))
        #expect(rig.frontend.failure == nil)
        rig.frontend.acknowledge([.version1])
        #expect(rig.frontend.failure?.kind == .violation)
    }
}

@Suite("Front-end: queues in use")
struct EnableTests {
    @Test("Queues that rest start disabled, and are enabled when they are wanted (vhost-user, Ring states)")
    func enable() throws {
        let rig = try FrontendRig()
        try rig.frontend.enable(1..<2, false)
        #expect(rig.fake.enables.isEmpty)
        try rig.activate()
        #expect(rig.fake.enables == [RingState(index: 0, value: 1), RingState(index: 1, value: 0)])
        try rig.frontend.enable(1..<2, true)
        #expect(rig.fake.enables.last == RingState(index: 1, value: 1))
        try rig.frontend.enable(0..<2, false)
        #expect(rig.fake.enables.suffix(2) == [RingState(index: 0, value: 0), RingState(index: 1, value: 0)])
    }

    @Test("A back-end that does not acknowledge is asked something, so that the change has happened")
    func barrier() throws {
        let script = FakeBackEnd.Script(protocolFeatures: ProtocolFeatures.servedToAll.subtracting([.inFlight, .deviceState, .replyAck]))
        let rig = try FrontendRig(script)
        try rig.activate()
        try rig.frontend.enable(0..<1, false)
        #expect(rig.fake.requests.suffix(2) == [.setRingEnable, .getFeatures])
    }
}

@Suite("Front-end: a back-end of another kind")
struct DeviceKindTests {
    private func failure(_ type: DeviceType, queues: Int = 1, _ script: FakeBackEnd.Script) -> String? {
        do {
            let fake = try FakeBackEnd(script)
            _ = try VhostUserFrontend(try fake.socket(), FrontendProfile(type, label: "kind", queueCount: queues, queueSize: 64))
            return nil
        } catch {
            return "\(error)"
        }
    }

    private func script(_ bits: [UInt64], queues: UInt64 = 4) -> FakeBackEnd.Script {
        let features = bits.reduce(FakeBackEnd.Script().features) { $0 | 1 << $1 }
        return FakeBackEnd.Script(features: features, queueCount: queues)
    }

    /// What real back-ends offer: ours, qemu-storage-daemon and SPDK; ours, DPDK and passt; virtiofsd.
    static let good: [(DeviceType, [UInt64])] = [
        (.block, [2, 6, 9, 10, 11, 12, 13, 14]), (.block, [0, 1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17]), (.network, [15]),
        (.network, [0, 1, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 21, 22]), (.console, [0]), (.entropy, []), (.fileSystem, []),
    ]

    @Test("Features that a device of the kind can have", arguments: good)
    func known(_ type: DeviceType, _ bits: [UInt64]) { #expect(failure(type, script(bits)) == nil) }

    @Test(
        "5.1.3, 5.2.3, 5.3.3, 5.4.3, 5.11.3 features that no device of the kind has, or not without others",
        arguments: [
            (.network, [2, 6, 9, 10, 11, 12, 13, 14], "0x5e00"), (.block, [0, 1, 7, 8, 15], "0x100"), (.entropy, [9], "0x200"),
            (.console, [9], "0x200"), (.fileSystem, [6], "0x40"),
        ] as [(DeviceType, [UInt64], String)])
    func strange(_ type: DeviceType, _ bits: [UInt64], _ strange: String) {
        let sentence = failure(type, script(bits))
        #expect(sentence?.contains("(\(strange)): it serves another kind of device.") == true, "\(sentence ?? "nothing")")
    }

    @Test("A back-end that says nothing of its queues has those that every device has")
    func fewest() {
        let modest = FakeBackEnd.Script(protocolFeatures: ProtocolFeatures.servedToAll.subtracting([.multiQueue, .inFlight, .deviceState]))
        #expect(failure(.network, queues: 2, modest) == nil)
        #expect(failure(.network, queues: 4, modest) == "The back-end has 2 queues; expected at least 4.")
        #expect(failure(.block, queues: 2, modest) == "The back-end has 1 queues; expected at least 2.")
    }

    @Test("A network back-end may count pairs; whether it has the last queue shows")
    func pairs() {
        #expect(failure(.network, queues: 4, script([15], queues: 2)) == nil)
        #expect(failure(.network, queues: 4, script([15], queues: 1)) == "The back-end has 1 queues; expected at least 4.")
        for twist in [FakeBackEnd.Twist.leave, .answer(.number(1))] {
            var other = script([15], queues: 2)
            other.requests = [.setRingCall: twist]
            #expect(failure(.network, queues: 4, other) == "The back-end has 2 queues; expected at least 4.")
        }
        #expect(failure(.block, queues: 4, script([12], queues: 2)) == "The back-end has 2 queues; expected at least 4.")
    }

    @Test("Features of transports that nobody serves here are not offered to drivers")
    func transports() throws {
        let fake = try FakeBackEnd(script([33, 35, 37, 38, 40]))
        let frontend = try VhostUserFrontend(try fake.socket(), FrontendRig.profile())
        #expect(frontend.features == Features.ours.union(.ringPacked))
    }
}
