/// What the control server allows its clients.
struct ControlLimits: Sendable {
    /// Connections at a time.
    var connections = 32
    /// Commands that wait for the one that runs.
    var waitingCommands = 16
    /// Bytes in a request's body.
    var body = 64 << 10
    /// Bytes in one header field, and in all of a request's, with its target.
    var headers = 16 << 10
    /// Header fields of a request.
    var headerFields = 64
    /// Milliseconds to send a request, from the connection's or the last response's beginning, and to take a response.
    var exchange: Int64 = 10_000
    /// Milliseconds that a client gets to read a refusal before its connection is closed under it.
    var farewell: Int64 = 1000
    /// Lines that wait for a slow reader of events.
    var waitingEvents = 256
}
