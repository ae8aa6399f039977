/// Something in a configuration document that cannot be used: where, and what was expected.
public struct ConfigError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The JSON path, such as `devices[1].readOnly`; empty for the document itself. In a text that is no JSON: line and column.
    public let path: String
    /// What is wrong and what was expected, without the path.
    public let message: String

    /// An error at a path.
    public init(path: String, _ message: String) {
        self.path = path
        self.message = message
    }

    /// `devices[1].readOnly: expected true or false, found "yes".`
    public var description: String { path.isEmpty ? message : "\(path): \(message)" }
}

extension JSONValue {
    /// The value's kind as a person would call it, with the value itself where it is short.
    public var spoken: String {
        switch self {
        case .null: "null"
        case .bool(let value): value ? "true" : "false"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .string(let value): value.utf8.count <= 40 ? "\"\(value)\"" : "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}
