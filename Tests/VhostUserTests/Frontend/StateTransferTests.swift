import Testing

@testable import VhostUser

@Suite("Front-end: the state of a back-end")
struct StateTransferTests {
    @Test("A back-end that stops in the middle of a state is done with", arguments: [true, false])
    func stops(_ saves: Bool) throws {
        var script = FakeBackEnd.Script(requests: [.setDeviceStateDescriptor: .answer(.number(DeviceStateTransfer.usesYours))])
        script.protocolFeatures.insert(.deviceState)
        let fake = try FakeBackEnd(script)
        // Long enough for good answers on a busy machine.
        var profile = FrontendRig.profile(patience: 2000)
        profile.isStateless = false
        let frontend = try VhostUserFrontend(try fake.socket(), profile)
        let error = #expect(throws: VhostUserError.self) {
            if saves {
                _ = try frontend.save()
            } else {
                // More than a pipe holds.
                _ = try frontend.load([UInt8](repeating: 0, count: 4 << 20))
            }
        }
        #expect(error?.kind == .silence)
        #expect(frontend.link.connection.failure?.kind == .silence)
    }
}
