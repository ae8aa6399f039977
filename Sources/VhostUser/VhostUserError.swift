import Host

/// Why a vhost-user connection cannot go on, or could not begin: one sentence.
public struct VhostUserError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Who is at fault.
    public enum Kind: Sendable, Equatable {
        /// The peer broke a rule of the protocol.
        case violation
        /// The peer did not finish what it had begun in time.
        case silence
        /// The peer has left, as one does that has ended.
        case departure
        /// The host refused something.
        case host
        /// The device could not do what was asked of it.
        case device
    }
    /// Who is at fault.
    public let kind: Kind
    /// One sentence, without the name of the device.
    public let description: String

    /// An error.
    public init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }

    static func violation(_ description: String) -> VhostUserError { VhostUserError(.violation, description) }
}

/// Runs a step that only the host can make fail, and says which it was.
func hosted<Result: ~Copyable>(_ step: String, _ body: () throws(SystemError) -> Result) throws(VhostUserError) -> Result {
    do { return try body() } catch { throw VhostUserError(.host, "The host could not \(step) (\(error)).") }
}
