import Host
import TestSupport
import Testing
import Virtio

@testable import VhostUser

@Suite("Front-end: the channel on which a back-end asks")
struct ChannelTests {
    typealias Script = FakeBackEnd.Script

    private static let changed = MessageHeader(request: 2, needsReply: true, size: 0)

    /// Sends a request on the channel; the number that it is answered with.
    private func ask(_ channel: RawPeer, _ header: MessageHeader, _ payload: [UInt8] = []) throws -> UInt64 {
        try channel.send(header, payload)
        let message = try channel.next()
        #expect(message.header == MessageHeader(request: header.request, isReply: true, size: 8))
        return message.payload.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    private let fresh = [UInt8](repeating: 0x77, count: 60)

    @Test("A change of configuration space is read and announced")
    func change() throws {
        let rig = try FrontendRig()
        try rig.activate()
        let channel = try rig.fake.channel()
        rig.fake.set(configuration: fresh)
        try channel.send(MessageHeader(request: 2, size: 0), [])
        try rig.interrupts.wait()
        #expect(rig.interrupts.configurationChanges == 1)
        #expect(rig.interrupts.resets == 0)
        #expect(rig.configuration() == fresh)
        // Asked for an answer, it comes when everything has been done.
        rig.fake.set(configuration: Array(fresh.reversed().map { ~$0 }))
        #expect(try ask(channel, Self.changed) == 0)
        #expect(rig.interrupts.configurationChanges == 2)
        #expect(rig.configuration(count: 1) == [0x88])
    }

    @Test("A back-end whose status says so needs a reset")
    func needsReset() throws {
        let rig = try FrontendRig()
        try rig.activate()
        rig.fake.set(status: 15 | 64)
        #expect(try ask(try rig.fake.channel(), Self.changed) == 0)
        #expect(rig.interrupts.resets == 1)
        #expect(rig.interrupts.configurationChanges == 0)
    }

    @Test("A change before activation or after a reset is read; a driver is told when it is ready")
    func inactive() throws {
        let rig = try FrontendRig()
        let channel = try rig.fake.channel()
        rig.fake.set(configuration: fresh)
        #expect(try ask(channel, Self.changed) == 0)
        #expect(rig.configuration() == fresh)
        #expect(rig.interrupts.configurationChanges == 0)
        try rig.activate()
        #expect(rig.interrupts.configurationChanges == 1)
        try rig.frontend.reset()
        rig.fake.set(configuration: fresh.map { ~$0 })
        #expect(try ask(channel, Self.changed) == 0)
        #expect(rig.configuration(count: 1) == [0x88])
        #expect(rig.interrupts.configurationChanges == 1)
    }

    @Test("Requests that are not known are refused, and the channel goes on", arguments: [0, 1, 3, 4, 8, UInt32.max])
    func unknown(_ request: UInt32) throws {
        let rig = try FrontendRig()
        try rig.activate()
        let channel = try rig.fake.channel()
        for size in [0, 8, 40] {
            let header = MessageHeader(request: request, needsReply: true, size: size)
            #expect(try ask(channel, header, [UInt8](repeating: 1, count: size)) == 1)
        }
        // A change has no payload.
        #expect(try ask(channel, MessageHeader(request: 2, needsReply: true, size: 1), [0]) == 1)
        #expect(rig.interrupts.configurationChanges == 0)
        #expect(try ask(channel, Self.changed) == 0)
        #expect(rig.interrupts.configurationChanges == 1)
    }

    @Test("Garbage on the channel harms nothing else", arguments: 0..<8 as Range<UInt64>)
    func garbage(_ seed: UInt64) throws {
        let rig = try FrontendRig()
        try rig.activate()
        let channel = try rig.fake.channel()
        var random = SeededRandom(seed: seed)
        for _ in 0..<20 {
            // The front-end may have hung up.
            let bytes = (0..<random.within(1...200)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            guard (try? channel.send(bytes: bytes)) != nil else { break }
        }
        channel.leave()
        #expect(try rig.sleep()?.count == 2)
        try rig.activate()
        #expect(rig.frontend.link.connection.failure == nil)
        #expect(rig.configuration(count: 2) == [0, 1])
    }

    @Test("A back-end that announces a change and then answers wrongly is done with")
    func refreshFails() throws {
        let rig = try FrontendRig(Script(steps: [ActivationTests.first: .wrongRequest]))
        #expect(try ask(try rig.fake.channel(), Self.changed) == 0)
        #expect(rig.frontend.link.connection.failure?.kind == .violation)
        #expect(throws: DeviceError.self) { try rig.activate() }
        #expect(rig.configuration(count: 2) == [0, 1])
    }

    @Test("Changes may come while queues start and stop")
    func many() throws {
        let rig = try FrontendRig()
        let channel = try rig.fake.channel()
        for number in 0..<50 as Range<UInt8> {
            rig.fake.set(configuration: [UInt8](repeating: number, count: 60))
            try channel.send(Self.changed, [])
            try rig.activate()
            _ = try rig.sleep()
            _ = try channel.receive()
            #expect(rig.configuration(count: 1) == [number])
        }
    }

    @Test("A back-end without the channel gets none")
    func none() throws {
        let rig = try FrontendRig(Script(protocolFeatures: ProtocolFeatures.servedToAll.subtracting([.backendRequests, .inFlight])))
        #expect(rig.fake.requests.last == .getConfiguration)
        #expect(throws: Timeout.self) { _ = try rig.fake.channel() }
        try rig.activate()
    }
}
