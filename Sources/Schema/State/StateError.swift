/// A saved state that cannot be taken over: where in the document, and what was expected there.
public struct StateError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The JSON path from the document's root, such as `devices.disk.queues[1].size`; empty for the document itself.
    public let path: String
    /// What was expected, and mostly what was found.
    public let expectation: String

    /// An error at a path.
    public init(path: String, expectation: String) {
        self.path = path
        self.expectation = expectation
    }

    /// One sentence: `serial.scratch: expected an integer from 0 to 255, found 256.`
    public var description: String { "\(path.isEmpty ? "" : "\(path): ")expected \(expectation)." }
}
