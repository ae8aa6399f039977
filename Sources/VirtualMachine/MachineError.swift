/// Something that a running machine could not do; the machine is as it was before.
public struct MachineError: Error, Sendable, Equatable, CustomStringConvertible {
    /// One sentence.
    public let description: String

    /// Wraps a sentence.
    public init(_ description: String) { self.description = description }
}
