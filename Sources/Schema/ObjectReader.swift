/// Reads one JSON object of a configuration, field by field, and at the same time knows the schema.
///
/// A configuration type is written once, as a function that asks a reader for its fields: key, type, range, default and a sentence of
/// documentation. That one function decodes (`vm.json` → typed values), resolves (every default filled in: `config show`), and
/// describes (JSON Schema: `config schema`), so that the three cannot disagree. When describing, each call returns its default or
/// some value in range.
public final class ObjectReader {
    /// What the document says; nil when describing.
    let input: [String: JSONValue]?
    /// The JSON path of this object.
    public let path: String
    /// How a relative path in the document becomes absolute.
    let resolvePath: (String) -> String

    /// The object with every default filled in.
    public private(set) var resolved: [String: JSONValue] = [:]
    private(set) var properties: [String: JSONValue] = [:]
    private(set) var requiredKeys: [String] = []
    private(set) var alternatives: [JSONValue] = []
    private var exclusiveKeys: [String] = []

    init(input: [String: JSONValue]?, path: String, resolvePath: @escaping (String) -> String) {
        self.input = input
        self.path = path
        self.resolvePath = resolvePath
    }

    /// Whether there is no document, only the schema is wanted.
    public var isDescribing: Bool { input == nil }

    /// The JSON path of a member of this object.
    public func path(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    /// An error at a member of this object, for rules that span fields.
    public func error(_ key: String, _ message: String) -> ConfigError { ConfigError(path: path(of: key), message) }

    /// Declares a field and returns what the document says about it, nil when it says nothing.
    func field(_ key: String, _ schema: [String: JSONValue], doc: String, default fallback: JSONValue?, required: Bool) throws(ConfigError)
        -> JSONValue?
    {
        var schema = schema
        schema["description"] = .string(doc)
        if let fallback { schema["default"] = fallback }
        properties[key] = .object(schema)
        if required { requiredKeys.append(key) }
        if let value = input?[key] { return value }
        if required, !isDescribing { throw error(key, "is missing: \(doc)") }
        return nil
    }

    /// Notes the value that a field came to have.
    func note(_ key: String, _ value: JSONValue) { resolved[key] = value }

    func mismatch(_ key: String, expected: String, found: JSONValue) -> ConfigError {
        error(key, "expected \(expected), found \(found.spoken).")
    }

    /// States that exactly one of several fields must be there; the reader of the fields sees to it.
    public func declareExactlyOne(of keys: [String]) { exclusiveKeys = keys }

    func declareAlternatives(_ schemas: [JSONValue]) { alternatives = schemas }

    /// Reads a nested object with `read`; nil when the document has none and `required` is false.
    public func optionalObject<Value>(
        _ key: String, doc: String, required: Bool = false, _ read: (ObjectReader) throws(ConfigError) -> Value
    ) throws(ConfigError) -> Value? {
        if isDescribing {
            let reader = ObjectReader(input: nil, path: path(of: key), resolvePath: resolvePath)
            let value = try read(reader)
            _ = try field(key, reader.schema, doc: doc, default: nil, required: required)
            return value
        }
        guard let found = try field(key, [:], doc: doc, default: nil, required: required) else { return nil }
        guard case .object(let members) = found else { throw mismatch(key, expected: "an object", found: found) }
        let reader = ObjectReader(input: members, path: path(of: key), resolvePath: resolvePath)
        let value = try read(reader)
        try reader.finish()
        note(key, .object(reader.resolved))
        return value
    }

    /// Reads a nested object whose fields all have defaults: an absent object is an empty one.
    public func object<Value>(_ key: String, doc: String, _ read: (ObjectReader) throws(ConfigError) -> Value) throws(ConfigError) -> Value
    {
        if let value = try optionalObject(key, doc: doc, read) { return value }
        let reader = ObjectReader(input: [:], path: path(of: key), resolvePath: resolvePath)
        let value = try read(reader)
        note(key, .object(reader.resolved))
        return value
    }

    /// Reads a nested object that must be there.
    public func requiredObject<Value>(
        _ key: String, doc: String, _ read: (ObjectReader) throws(ConfigError) -> Value
    ) throws(ConfigError) -> Value {
        guard let value = try optionalObject(key, doc: doc, required: true, read) else { throw error(key, "is missing: \(doc)") }
        return value
    }

    /// Reads an array of objects; an absent array is an empty one.
    public func objects<Value>(
        _ key: String, doc: String, _ read: (ObjectReader) throws(ConfigError) -> Value
    ) throws(ConfigError) -> [Value] {
        if isDescribing {
            let reader = ObjectReader(input: nil, path: "\(path(of: key))[]", resolvePath: resolvePath)
            let value = try read(reader)
            _ = try field(key, ["type": "array", "items": .object(reader.schema)], doc: doc, default: [], required: false)
            return [value]
        }
        guard let found = try field(key, [:], doc: doc, default: [], required: false) else {
            note(key, [])
            return []
        }
        guard case .array(let elements) = found else { throw mismatch(key, expected: "an array", found: found) }
        var values: [Value] = []
        var resolvedElements: [JSONValue] = []
        for (index, element) in elements.enumerated() {
            let elementPath = "\(path(of: key))[\(index)]"
            guard case .object(let members) = element else {
                throw ConfigError(path: elementPath, "expected an object, found \(element.spoken).")
            }
            let reader = ObjectReader(input: members, path: elementPath, resolvePath: resolvePath)
            values.append(try read(reader))
            try reader.finish()
            resolvedElements.append(.object(reader.resolved))
        }
        note(key, .array(resolvedElements))
        return values
    }

    /// One of several shapes of this very object.
    public struct Variant<Value> {
        let name: String
        let doc: String
        let read: (ObjectReader) throws(ConfigError) -> Value

        /// The shape chosen when the deciding field has the value `name`.
        public init(_ name: String, doc: String, _ read: @escaping (ObjectReader) throws(ConfigError) -> Value) {
            self.name = name
            self.doc = doc
            self.read = read
        }
    }

    /// Reads the rest of this object in the shape that the string field `key` names.
    public func variant<Value>(_ key: String, doc: String, default fallback: String? = nil, _ variants: [Variant<Value>])
        throws(ConfigError)
        -> Value
    {
        let names = variants.map(\.name)
        if isDescribing {
            var schemas: [JSONValue] = []
            var last: Value?
            for variant in variants {
                let reader = ObjectReader(input: nil, path: path, resolvePath: resolvePath)
                last = try variant.read(reader)
                var schema = reader.schema
                if case .object(var members)? = schema["properties"] {
                    members[key] = .object(["const": .string(variant.name), "description": .string(variant.doc)])
                    schema["properties"] = .object(members)
                }
                if case .array(let required)? = schema["required"], fallback != variant.name {
                    schema["required"] = .array(required + [.string(key)])
                } else if fallback != variant.name {
                    schema["required"] = .array([.string(key)])
                }
                schemas.append(.object(schema))
            }
            declareAlternatives(schemas)
            guard let last else { throw error(key, "has no variants.") }
            return last
        }
        let found = try field(key, [:], doc: doc, default: fallback.map { .string($0) }, required: fallback == nil)
        guard case .string(let name) = found ?? .string(fallback ?? "") else {
            throw mismatch(key, expected: "a string", found: found ?? .null)
        }
        guard let variant = variants.first(where: { $0.name == name }) else {
            throw error(key, "expected one of \(names.joined(separator: ", ")), found \"\(name)\".")
        }
        note(key, .string(name))
        return try variant.read(self)
    }

    /// Refuses keys that no field has asked for.
    func finish() throws(ConfigError) {
        guard let input else { return }
        let known = properties.keys.sorted()
        guard let stranger = input.keys.sorted().first(where: { properties[$0] == nil }) else { return }
        let here = known.isEmpty ? "none is known here" : "known here: \(known.joined(separator: ", "))"
        throw error(stranger, "is not a known key; \(here).")
    }

    /// The JSON Schema of the fields declared so far.
    var schema: [String: JSONValue] {
        guard alternatives.isEmpty else {
            // The shapes share the fields that were declared before the choice.
            let merged: [JSONValue] = alternatives.map { alternative in
                guard case .object(var shape) = alternative, case .object(let own)? = shape["properties"] else { return alternative }
                shape["properties"] = .object(own.merging(properties) { mine, _ in mine })
                var required = requiredKeys.map { JSONValue.string($0) }
                if case .array(let more)? = shape["required"] { required += more }
                if !required.isEmpty { shape["required"] = .array(required) }
                return .object(shape)
            }
            return ["oneOf": .array(merged)]
        }
        var schema: [String: JSONValue] = [
            "type": "object", "additionalProperties": false, "properties": .object(properties),
        ]
        if !requiredKeys.isEmpty { schema["required"] = .array(requiredKeys.map { .string($0) }) }
        if !exclusiveKeys.isEmpty { schema["oneOf"] = .array(exclusiveKeys.map { ["required": .array([.string($0)])] }) }
        return schema
    }
}
