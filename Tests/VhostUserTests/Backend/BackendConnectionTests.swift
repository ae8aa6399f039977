import Host
import Testing

@testable import VhostUser

@Suite("Back-end: connections")
struct BackendConnectionTests {
    @Test("Messages in one write are handled one by one")
    func backToBack() throws {
        let driver = try RawDriver(try Service().connect())
        let questions: [FrontEndMessage] = [.getFeatures, .setOwner, .getProtocolFeatures, .setProtocolFeatures(8), .getQueueCount]
        try driver.peer.send(bytes: questions.flatMap { $0.bytes() } + FrontEndMessage.setOwner.bytes(needsReply: true))
        for request in [FrontEndRequest.getFeatures, .getProtocolFeatures, .getQueueCount, .setOwner] {
            _ = try driver.peer.answer(to: request)
        }
        driver.peer.leave()
        #expect(try driver.connection.failure() == nil)
    }

    @Test("Descriptors belong to the message that they came with, also right behind others")
    func descriptorsBehindOthers() throws {
        let driver = try RawDriver(try Service().connect())
        let queue = driver.queue
        try driver.greet()
        try driver.shareMemory()
        try driver.peer.send(
            bytes: [FrontEndMessage.setRingSize(queue.state(64)), .setRingBase(queue.state(0)), .setRingAddresses(queue.addresses)].flatMap
            {
                $0.bytes()
            })
        try driver.peer.send(.setRingCall(queue.present), passing: [queue.call.rawValue])
        // The event goes with the first byte of a write, so with the first of its messages.
        let rest = FrontEndMessage.setRingEnable(queue.state(1)).bytes() + FrontEndMessage.getQueueCount.bytes()
        try driver.peer.send(bytes: FrontEndMessage.setRingKick(queue.present).bytes() + rest, passing: [queue.kick.rawValue])
        #expect(try driver.peer.answer(to: .getQueueCount) == .number(1))
        #expect(try driver.works())
        driver.peer.leave()
        #expect(try driver.connection.failure() == nil)
    }

    @Test("A descriptor with the first of two messages is none of the second")
    func descriptorOfFirst() throws {
        let driver = try RawDriver(try Service().connect())
        let both = FrontEndMessage.getQueueCount.bytes() + FrontEndMessage.setRingCall(driver.queue.present).bytes()
        try driver.peer.send(bytes: both, passing: [driver.queue.call.rawValue])
        #expect(try driver.connection.failure() == .violation("GET_QUEUE_NUM came with 1 descriptors; expected 0."))
    }

    @Test("A message may come byte by byte")
    func byteByByte() throws {
        let driver = try RawDriver(try Service().connect())
        try driver.greet()
        for message in [FrontEndMessage.setRingSize(driver.queue.state(32)), .getQueueCount] {
            for byte in message.bytes() { try driver.peer.send(bytes: [byte]) }
        }
        #expect(try driver.peer.answer(to: .getQueueCount) == .number(1))
        driver.peer.leave()
        #expect(try driver.connection.failure() == nil)
    }

    @Test("`stop` ends serving, and the device stands still", arguments: 0..<3)
    func stop(_ step: Int) throws {
        let service = try Service()
        let driver = try RawDriver(try service.connect())
        if step > 0 { try driver.greet() }
        if step > 1 {
            try driver.shareMemory()
            try driver.queue.start(on: driver.peer)
            #expect(try driver.works())
        }
        #expect(driver.connection.stop() == nil)
        #expect(try !service.wasLeftActive())
        // The front-end sees that, once it has read what it was told before.
        #expect(try driver.peer.receive() == nil)
    }

    @Test("REPLY_ACK answers every request that has no answer of its own, and no other twice")
    func acknowledgements() throws {
        let driver = try RawDriver(try Service().connect())
        let peer = driver.peer
        let queue = driver.queue
        // Not before it has been negotiated.
        try peer.send(.setOwner, needsReply: true)
        try peer.send(.setProtocolFeatures(ProtocolFeatures.replyAck.rawValue))
        let plain: [FrontEndMessage] = [
            .setFeatures(1 << 32 | 1 << 30), .setOwner, .setRingSize(queue.state(64)), .setRingBase(queue.state(0)),
            .setRingAddresses(queue.addresses), .setRingEnable(queue.state(1)), .setStatus(1), .resetDevice, .resetOwner,
            .setConfiguration(ConfigurationAccess(offset: 0, bytes: [1])), .setProtocolFeatures(ProtocolFeatures.replyAck.rawValue),
        ]
        for message in plain { #expect(try peer.ask(message, needsReply: true) == .number(0)) }
        for message in [FrontEndMessage.setRingCall(queue.present), .setRingError(queue.present), .setRingKick(queue.present)] {
            #expect(try peer.ask(message, needsReply: true, passing: [queue.call.rawValue]) == .number(0))
        }
        #expect(try peer.ask(.getQueueCount, needsReply: true) == .number(1))
        #expect(try peer.ask(.getStatus) == .number(0))
        peer.leave()
        #expect(try driver.connection.failure() == nil)
        #expect(try peer.receive() == nil)
    }

    @Test("A hundred connections, one after the other")
    func many() throws {
        let service = try Service()
        for _ in 0..<100 {
            let driver = try RawDriver(try service.connect())
            try driver.start()
            #expect(try driver.works())
            driver.peer.leave()
            #expect(try driver.connection.failure() == nil)
        }
    }
}
