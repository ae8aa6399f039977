import Testing
import Virtio

@testable import VhostUser

@Suite("Front-end: the log of writes")
struct LoggingTests {
    private func script(logs: Bool) -> FakeBackEnd.Script {
        var script = FakeBackEnd.Script()
        if logs { script.features |= ProtocolFeatures.logging }
        return script
    }

    @Test("A back-end gets the log before its rings, whatever it answers; a driver sees nothing of it")
    func logs() throws {
        let rig = try FrontendRig(script(logs: true), tracksWrites: true)
        #expect(rig.frontend.canLogWrites)
        #expect(rig.frontend.features.rawValue & ProtocolFeatures.logging == 0)
        try rig.activate()
        let requests = rig.fake.requests
        let log = try #require(requests.firstIndex(of: .setLogBase))
        #expect(log < (try #require(requests.firstIndex(of: .setRingKick))))
        #expect(try #require(rig.fake.negotiated.last) & ProtocolFeatures.logging != 0)
        _ = try rig.sleep()
        try rig.activate()
        #expect(rig.fake.requests.count { $0 == .setLogBase } == 1)
    }

    @Test("RAM that is not tracked has no log", arguments: [true, false])
    func untracked(_ logs: Bool) throws {
        let rig = try FrontendRig(script(logs: logs))
        #expect(rig.frontend.canLogWrites == logs)
        try rig.activate()
        #expect(!rig.fake.requests.contains(.setLogBase))
        #expect(rig.fake.negotiated.allSatisfy { $0 & ProtocolFeatures.logging == 0 })
    }

    @Test("A back-end that cannot log does not serve RAM that is tracked", arguments: [true, false])
    func cannot(_ hasFeature: Bool) throws {
        var script = script(logs: hasFeature)
        if hasFeature { script.protocolFeatures.remove(.logMemory) }
        let rig = try FrontendRig(script, tracksWrites: true)
        #expect(!rig.frontend.canLogWrites)
        let error = #expect(throws: DeviceError.self) { try rig.activate() }
        #expect(error?.description.contains("cannot log what it writes") == true)
    }
}
