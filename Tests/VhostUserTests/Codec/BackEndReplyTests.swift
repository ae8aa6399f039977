import Testing

@testable import VhostUser

@Suite("Back-end replies")
struct BackEndReplyTests {
    /// Answers that a request can get.
    private func answers(to request: FrontEndRequest) -> [BackEndReply] {
        switch request {
        case .getRingBase: [(UInt32(0), UInt32(0)), (.max, .max), (1, 0x8000_7fff)].map { .ring(RingState(index: $0, value: $1)) }
        case .getConfiguration: Samples.accesses.map { .configuration($0) } + [.configuration(nil)]
        case .getInFlight: Samples.inFlight.map { .inFlight($0) }
        case .getReason: [("capacity", "as much"), ("", "two\nlines")].map { .reason(StateRefusal(path: $0, expectation: $1)) }
        default: [0, 1, 1 << 32, .max].map { .number($0) }
        }
    }

    @Test("Every answer is read as it was written", arguments: FrontEndRequest.allCases)
    func roundTrip(_ request: FrontEndRequest) throws {
        for answer in answers(to: request) { #expect(try BackEndReply(to: request, answer.payload.span) == answer) }
    }

    @Test("An answer of another size is refused, and the sentence names the request", arguments: FrontEndRequest.allCases)
    func sizes(_ request: FrontEndRequest) throws {
        // Text has no size.
        if request == .getReason { return }
        for answer in answers(to: request) {
            let payload = answer.payload
            let shorter = (0..<payload.count).map { Array(payload.prefix($0)) }
            for other in shorter + [1, 8].map({ payload + [UInt8](repeating: 0, count: $0) }) {
                // Nothing at all says that there is no configuration space.
                if request == .getConfiguration, other.isEmpty { continue }
                // Some have nothing to say about a log.
                if request == .setLogBase, other.isEmpty {
                    #expect(try BackEndReply(to: request, other.span) == .number(0))
                    continue
                }
                // Without what a compiler puts at the end of the structure.
                if request == .getInFlight, other.count == 20 { continue }
                let error = #expect(throws: VhostUserError.self) { try BackEndReply(to: request, other.span) }
                #expect(error == .violation("The answer to \(request.name) with \(other.count) bytes of payload is malformed."))
            }
        }
    }

    @Test("Which requests have an answer of their own")
    func ownAnswers() {
        let answered = FrontEndRequest.allCases.filter(\.hasReply).map(\.name)
        #expect(
            answered == [
                "GET_FEATURES", "SET_LOG_BASE", "GET_VRING_BASE", "GET_PROTOCOL_FEATURES", "GET_QUEUE_NUM", "GET_CONFIG",
                "GET_INFLIGHT_FD", "GET_MAX_MEM_SLOTS", "GET_STATUS", "SET_DEVICE_STATE_FD", "CHECK_DEVICE_STATE", "GET_REASON",
            ])
    }
}
