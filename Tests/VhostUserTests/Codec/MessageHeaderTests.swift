import Testing

@testable import VhostUser

@Suite("Message headers")
struct MessageHeaderTests {
    private func bytes(request: UInt32 = 1, flags: UInt32 = 1, size: UInt32 = 0) -> [UInt8] {
        [request, flags, size].flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
    }

    @Test("Every header is read as it was written")
    func roundTrip() throws {
        for request in [0, 1, 40, UInt32.max] {
            for size in [0, 1, 8, MessageHeader.mostPayload] {
                for (isReply, needsReply) in [(false, false), (true, false), (false, true), (true, true)] {
                    let header = MessageHeader(request: request, isReply: isReply, needsReply: needsReply, size: size)
                    #expect(header.bytes.count == MessageHeader.byteCount)
                    #expect(try MessageHeader(header.bytes.span) == header)
                }
            }
        }
    }

    @Test("The bytes are those of the specification")
    func layout() {
        let header = MessageHeader(request: 0x0102_0304, isReply: true, needsReply: true, size: 0x0506)
        #expect(header.bytes == [4, 3, 2, 1, 0b1101, 0, 0, 0, 6, 5, 0, 0])
    }

    @Test("Only version 1 is taken", arguments: [0, 2, 3] as [UInt32])
    func version(_ version: UInt32) {
        for other in [0, 4, 8, 0xffff_fffc] as [UInt32] {
            let error = #expect(throws: VhostUserError.self) { try MessageHeader(bytes(flags: version | other).span) }
            #expect(error == .violation("A message has version \(version); expected 1."))
        }
    }

    @Test("Flags that are not defined are ignored")
    func otherFlags() throws {
        #expect(try MessageHeader(bytes(flags: 0xffff_fff1).span) == MessageHeader(request: 1, size: 0))
        #expect(
            try MessageHeader(bytes(flags: 0xffff_fffd).span) == MessageHeader(request: 1, isReply: true, needsReply: true, size: 0))
    }

    @Test("A payload above the limit is refused before it is read")
    func sizes() throws {
        #expect(try MessageHeader(bytes(size: 4096).span).size == 4096)
        for size in [4097, 1 << 31, UInt32.max] {
            let error = #expect(throws: VhostUserError.self) { try MessageHeader(bytes(size: size).span) }
            #expect(error == .violation("A message announces \(size) bytes of payload; expected at most 4096."))
        }
    }

    @Test("A header has 12 bytes")
    func length() {
        for count in Array(0..<12) + [13, 24] {
            let error = #expect(throws: VhostUserError.self) { try MessageHeader([UInt8](repeating: 1, count: count).span) }
            #expect(error?.kind == .violation)
        }
    }
}
