/// What a back-end answers.
public enum BackEndReply: Sendable, Equatable {
    /// A number: features, counts, status, and 0 for success or 1 for failure where REPLY_ACK asks.
    case number(UInt64)
    /// Where a queue stands (GET_VRING_BASE).
    case ring(RingState)
    /// A stretch of configuration space; nil says that there is none (an empty payload).
    case configuration(ConfigurationAccess?)
    /// What the memory for requests in flight is like; its descriptor comes along.
    case inFlight(InFlightDescription)
    /// Why a state was refused.
    case reason(StateRefusal)

    /// The payload.
    public var payload: [UInt8] {
        var writer = PayloadWriter()
        switch self {
        case .number(let value): writer.append(value)
        case .ring(let state): state.write(to: &writer)
        case .configuration(let access?): access.write(to: &writer)
        case .configuration(nil): break
        case .inFlight(let region): region.write(to: &writer)
        case .reason(let refusal): refusal.write(to: &writer)
        }
        return writer.bytes
    }

    /// Reads the answer to a request.
    /// - Throws: a violation that names the request, for a payload of another size.
    public init(to request: FrontEndRequest, _ payload: Span<UInt8>) throws(VhostUserError) {
        var reader = PayloadReader(payload)
        let reply: BackEndReply?
        switch request {
        case .getRingBase: reply = RingState(&reader).map { .ring($0) }
        case .getConfiguration: reply = payload.isEmpty ? .configuration(nil) : ConfigurationAccess(&reader).map { .configuration($0) }
        case .getInFlight: reply = InFlightDescription(&reader).map { .inFlight($0) }
        // The specification has no payload for it, and back-ends differ: none, a 0, what the request had.
        case .setLogBase: reply = payload.isEmpty ? .number(0) : reader.uint64().map { .number($0) }
        case .getReason: reply = .reason(StateRefusal(&reader))
        default: reply = reader.uint64().map { .number($0) }
        }
        guard let reply, reader.isAtEnd else {
            throw .violation("The answer to \(request.name) with \(payload.count) bytes of payload is malformed.")
        }
        self = reply
    }
}

/// What a back-end asks on its own channel (vhost-user, Back-end message types), as far as we serve it.
public enum BackEndRequest: UInt32, Sendable {
    /// The configuration space has changed.
    case configurationChanged = 2
}
