import TestSupport
import Testing

@testable import VhostUser

@Suite("Random messages")
struct CodecFuzzTests {
    @Test("100000 random messages are read or refused, and what is read is written as it was")
    func random() throws {
        var random = SeededRandom(seed: 0x5eed)
        let noise = (0..<8192).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let samples = Samples.messages.map { (request: $0.request.rawValue, payload: $0.payload, descriptors: $0.descriptors.lowerBound) }
        var taken = 0
        for _ in 0..<100_000 {
            let sample = random.pick(samples)
            var payload = sample.payload.count > 64 && !random.oneIn(50) ? [] : sample.payload
            if random.oneIn(4) {
                let start = random.below(4096)
                payload = Array(noise[start..<start + random.below(random.oneIn(500) ? 4097 : 64)])
            } else if !payload.isEmpty {
                for _ in 0..<random.below(3) { payload[random.below(payload.count)] = UInt8(truncatingIfNeeded: random.next()) }
            }
            var header = MessageHeader(request: sample.request, isReply: random.oneIn(50), size: payload.count).bytes
            if random.oneIn(3) { header[random.below(12)] = UInt8(truncatingIfNeeded: random.next()) }
            let descriptors = random.oneIn(8) ? random.below(4) : sample.descriptors
            guard let read = read(header, payload, descriptors) else { continue }
            taken += 1
            guard taken.isMultiple(of: 8) else { continue }
            // What was read can be written; reading that gives the same again.
            let again = try decode(read.request.rawValue, read.payload, descriptors: descriptors)
            guard again == read else {
                Issue.record("\(read) became \(again).")
                return
            }
        }
        #expect(taken > 10_000)
    }

    /// Reads a message as a back-end does, and, whatever it is, as a front-end reads an answer; nil for what is refused.
    private func read(_ header: [UInt8], _ payload: [UInt8], _ descriptors: Int) -> FrontEndMessage? {
        do throws(VhostUserError) {
            let header = try MessageHeader(header.span)
            for request in [FrontEndRequest.getRingBase, .getConfiguration, .getStatus] where request.rawValue == header.request {
                _ = try? BackEndReply(to: request, payload.span)
            }
            return try FrontEndMessage(header, payload.span, descriptors: descriptors)
        } catch {
            if error.kind != .violation { Issue.record(error) }
            return nil
        }
    }
}
