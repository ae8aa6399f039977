/// A value that is either a bare name (`"user"`) or an object with one member (`{"tap": "tap0"}`).
///
/// Back-ends are written like this: most need at most one thing besides their name.
public struct TaggedForm: Sendable {
    /// What stands beside the name.
    public enum Payload: Sendable {
        /// Nothing: the bare name.
        case none
        /// A string that obeys a rule.
        case string(StringRule)
        /// A path, made absolute against the document's directory.
        case path
        /// An integer in a range.
        case integer(ClosedRange<Int64>)
    }
    /// The name.
    public let name: String
    let payload: Payload
    let doc: String

    /// A form named `name`.
    public init(_ name: String, _ payload: Payload = .none, doc: String) {
        self.name = name
        self.payload = payload
        self.doc = doc
    }

    var schema: JSONValue {
        let member: [String: JSONValue]
        switch payload {
        case .none: return ["const": .string(name), "description": .string(doc)]
        case .string(let rule): member = rule.pattern.map { ["type": "string", "pattern": .string($0)] } ?? ["type": "string"]
        case .path: member = StringRule.path.pattern.map { ["type": "string", "pattern": .string($0)] } ?? ["type": "string"]
        case .integer(let range):
            member = ["type": "integer", "minimum": .integer(range.lowerBound), "maximum": .integer(range.upperBound)]
        }
        return [
            "type": "object", "additionalProperties": false, "required": .array([.string(name)]),
            "properties": .object([name: .object(member)]), "description": .string(doc),
        ]
    }

    var spoken: String {
        switch payload {
        case .none: "\"\(name)\""
        case .string(let rule): "{\"\(name)\": \(rule.spoken)}"
        case .path: "{\"\(name)\": a path}"
        case .integer: "{\"\(name)\": a number}"
        }
    }
}

/// What a tagged field says.
public struct TaggedValue: Sendable, Equatable {
    /// The name of the form.
    public let name: String
    /// The string or (absolute) path beside it.
    public let text: String?
    /// The integer beside it.
    public let number: Int64?
}

extension ObjectReader {
    /// Reads a tagged field; an absent one has the bare name `fallback`, or nothing when that is nil.
    public func optionalTagged(_ key: String, default fallback: String?, doc: String, _ forms: [TaggedForm]) throws(ConfigError)
        -> TaggedValue?
    {
        let schema: [String: JSONValue] = ["oneOf": .array(forms.map(\.schema))]
        let default_ = fallback.map { JSONValue.string($0) }
        guard let found = try field(key, schema, doc: doc, default: default_, required: false) ?? default_ else { return nil }
        note(key, found)
        switch found {
        case .string(let name):
            for form in forms where form.name == name {
                if case .none = form.payload { return TaggedValue(name: name, text: nil, number: nil) }
            }
        case .object(let members) where members.count == 1:
            guard let (name, payload) = members.first else { break }
            for form in forms where form.name == name {
                switch (form.payload, payload) {
                case (.string(let rule), .string(let text)) where rule.accepts(text):
                    return TaggedValue(name: name, text: text, number: nil)
                case (.path, .string(let text)) where StringRule.path.accepts(text):
                    let absolute = resolvePath(text)
                    note(key, .object([name: .string(absolute)]))
                    return TaggedValue(name: name, text: absolute, number: nil)
                case (.integer(let range), .integer(let number)) where range.contains(number):
                    return TaggedValue(name: name, text: nil, number: number)
                default: continue
                }
            }
        default: break
        }
        throw mismatch(key, expected: "one of \(forms.map(\.spoken).joined(separator: ", "))", found: found)
    }
}
