import Testing

@testable import VhostUser

@Suite("Front-end messages")
struct FrontEndMessageTests {
    @Test("Every message is read as it was written")
    func roundTrip() throws {
        for message in Samples.messages + [.getConfiguration(Samples.wholeSpace), .setConfiguration(Samples.wholeSpace)] {
            let payload = message.payload
            #expect(payload.count <= MessageHeader.mostPayload)
            for count in message.descriptors {
                #expect(try decode(message.request.rawValue, payload, descriptors: count) == message)
            }
        }
        #expect(Set(Samples.messages.map(\.request)) == Set(FrontEndRequest.allCases))
    }

    /// Whether a payload of that size is another message of the same kind.
    private func isMessage(_ message: FrontEndMessage, _ count: Int) -> Bool {
        switch message {
        // It may carry a number that means nothing.
        case .setBackendRequestSocket, .setLogEvent: count == 8
        // A question may come without room for its answer.
        case .getConfiguration: count == 12
        // With or without what a compiler puts at the end of the structure.
        case .getInFlight, .setInFlight: count == 20
        // Whatever it is, somebody else reads it.
        case .control: true
        default: false
        }
    }

    @Test("A payload that is too short or too long is refused, and the sentence names the request", arguments: Samples.messages)
    func sizes(_ message: FrontEndMessage) throws {
        let payload = message.payload
        let shorter = (0..<payload.count).map { Array(payload.prefix($0)) }
        for other in shorter + [1, 8, 32].map({ payload + [UInt8](repeating: 0, count: $0) }) where !isMessage(message, other.count) {
            let error = #expect(throws: VhostUserError.self) {
                try decode(message.request.rawValue, other, descriptors: message.descriptors.lowerBound)
            }
            #expect(error?.kind == .violation)
            #expect(error?.description.contains("\(message.request.name) with \(other.count) bytes") == true)
        }
    }

    @Test("SET_BACKEND_REQ_FD may carry a number, which is ignored")
    func ignoredNumber() throws {
        let number = try decode(21, [UInt8](repeating: 0xee, count: 8), descriptors: 1)
        #expect(number == .setBackendRequestSocket)
        for count in [1, 7, 9, 16] {
            #expect(throws: VhostUserError.self) { try decode(21, [UInt8](repeating: 0, count: count), descriptors: 1) }
        }
    }

    @Test("A question for configuration space may come without room for its answer, a write may not")
    func configurationWithoutBytes() throws {
        let head = Array(ConfigurationAccess(offset: 8, bytes: [1, 2, 3, 4]).payload.prefix(12))
        #expect(try decode(24, head) == .getConfiguration(ConfigurationAccess(offset: 8, bytes: [0, 0, 0, 0])))
        let error = #expect(throws: VhostUserError.self) { try decode(25, head) }
        #expect(error?.description.contains("SET_CONFIG") == true)
    }

    @Test("Unknown requests are refused by their number", arguments: Samples.unknownRequests)
    func unknown(_ request: UInt32) throws {
        for payload in [[], [UInt8](repeating: 0, count: 8)] {
            let error = #expect(throws: VhostUserError.self) { try decode(request, payload) }
            #expect(error == .violation("Request \(request) is not known."))
        }
    }

    @Test("A reply is no request", arguments: FrontEndRequest.allCases)
    func replies(_ request: FrontEndRequest) throws {
        let error = #expect(throws: VhostUserError.self) { try decode(request.rawValue, [], isReply: true) }
        #expect(error == .violation("\(request.name) came as a reply."))
    }

    @Test("A wrong number of descriptors is refused, and the sentence names the request", arguments: Samples.messages)
    func descriptors(_ message: FrontEndMessage) throws {
        let right = message.descriptors
        for count in Array(0...3) + [31, 33, 64] where !right.contains(count) {
            let error = #expect(throws: VhostUserError.self) {
                try decode(message.request.rawValue, message.payload, descriptors: count)
            }
            #expect(error?.kind == .violation)
            #expect(error?.description.hasPrefix("\(message.request.name) came with \(count) descriptors") == true)
        }
    }

    @Test("Which messages come with descriptors")
    func whichDescriptors() {
        #expect(FrontEndMessage.setMemoryTable(Samples.table(5)).descriptors == 5...5)
        #expect(FrontEndMessage.addMemoryRegion(Samples.regions[0]).descriptors == 1...1)
        #expect(FrontEndMessage.removeMemoryRegion(Samples.regions[0]).descriptors == 0...1)
        #expect(FrontEndMessage.setBackendRequestSocket.descriptors == 1...1)
        #expect(FrontEndMessage.setRingKick(RingDescriptor(index: 0, isPresent: true)).descriptors == 1...1)
        #expect(FrontEndMessage.setRingCall(RingDescriptor(index: 0, isPresent: false)).descriptors == 0...0)
        #expect(FrontEndMessage.getFeatures.descriptors == 0...0)
    }

    @Test("A ring's descriptor word has the queue in its low byte and absence in bit 8; the rest is ignored")
    func ringDescriptorWords() {
        #expect(RingDescriptor(index: 5, isPresent: true).word == 5)
        #expect(RingDescriptor(index: 5, isPresent: false).word == 0x105)
        #expect(RingDescriptor(0xffff_ffff_ffff_fe03) == RingDescriptor(index: 3, isPresent: true))
        #expect(RingDescriptor(.max) == RingDescriptor(index: 255, isPresent: false))
    }

    @Test("A memory table has 1 to 32 regions")
    func memoryTables() throws {
        for count in [1, 2, 31, 32] {
            let message = FrontEndMessage.setMemoryTable(Samples.table(count))
            #expect(try decode(5, message.payload, descriptors: count) == message)
        }
        for count in [0, 33, 64] {
            let payload = FrontEndMessage.setMemoryTable(Samples.table(count)).payload
            let error = #expect(throws: VhostUserError.self) { try decode(5, payload, descriptors: count) }
            #expect(error == .violation("SET_MEM_TABLE with \(payload.count) bytes of payload is malformed."))
        }
        // A count that is not that of the regions.
        for count: UInt8 in [1, 3, 255] {
            var payload = FrontEndMessage.setMemoryTable(Samples.table(2)).payload
            payload[0] = count
            #expect(throws: VhostUserError.self) { try decode(5, payload, descriptors: Int(count)) }
        }
        var huge = FrontEndMessage.setMemoryTable(Samples.table(1)).payload
        huge.replaceSubrange(0..<4, with: [0xff, 0xff, 0xff, 0xff])
        #expect(throws: VhostUserError.self) { try decode(5, huge, descriptors: 1) }
    }

    @Test("An access past the end of any configuration space is refused", arguments: [24, 25] as [UInt32])
    func configurationEnd(_ request: UInt32) throws {
        let end = ConfigurationAccess.end
        func payload(offset: UInt32, size: UInt32, bytes: Int) -> [UInt8] {
            RingState(index: offset, value: size).payload + [0, 0, 0, 0] + [UInt8](repeating: 1, count: bytes)
        }
        for (offset, size) in [(end - 1, 2), (end, 1), (end + 1, 0), (.max, 1), (.max, .max), (0, end + 1), (1, .max)] as [(UInt32, UInt32)]
        {
            for bytes in Set([0, 1, 2, Int(min(size, end))]) {
                let error = #expect(throws: VhostUserError.self) {
                    try decode(request, payload(offset: offset, size: size, bytes: bytes))
                }
                #expect(error?.kind == .violation)
            }
        }
        #expect(try decode(request, payload(offset: 0, size: end, bytes: Int(end))).payload.count == MessageHeader.mostPayload)
        #expect(throws: VhostUserError.self) { try decode(request, payload(offset: 0, size: 4, bytes: 3)) }
        #expect(throws: VhostUserError.self) { try decode(request, payload(offset: 0, size: 4, bytes: 5)) }
    }
}

extension ConfigurationAccess {
    /// As bytes.
    var payload: [UInt8] { BackEndReply.configuration(self).payload }
}

extension RingState {
    /// As bytes.
    var payload: [UInt8] { BackEndReply.ring(self).payload }
}
