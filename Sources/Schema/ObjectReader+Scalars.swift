// The kinds of fields that a configuration has. Each has a form with a default and, where it makes sense, an optional and a required one.

extension ObjectReader {
    /// `true` or `false`.
    public func bool(_ key: String, default fallback: Bool, doc: String) throws(ConfigError) -> Bool {
        let found = try field(key, ["type": "boolean"], doc: doc, default: .bool(fallback), required: false) ?? .bool(fallback)
        guard case .bool(let value) = found else { throw mismatch(key, expected: "true or false", found: found) }
        note(key, .bool(value))
        return value
    }

    /// An integer within a range, which is part of the schema.
    public func integer(_ key: String, in range: ClosedRange<Int64>, default fallback: Int64, doc: String) throws(ConfigError) -> Int64 {
        try optionalInteger(key, in: range, default: fallback, doc: doc) ?? fallback
    }

    /// An integer within a range, or nothing.
    public func optionalInteger(
        _ key: String, in range: ClosedRange<Int64>, default fallback: Int64? = nil, required: Bool = false, doc: String
    ) throws(ConfigError) -> Int64? {
        let schema: [String: JSONValue] = [
            "type": "integer", "minimum": .integer(range.lowerBound), "maximum": .integer(range.upperBound),
        ]
        let default_ = fallback.map { JSONValue.integer($0) }
        guard let found = try field(key, schema, doc: doc, default: default_, required: required) ?? default_ else { return nil }
        guard case .integer(let value) = found, range.contains(value) else {
            throw mismatch(key, expected: "an integer from \(range.lowerBound) to \(range.upperBound)", found: found)
        }
        note(key, found)
        return value
    }

    /// One of a few integers.
    public func integer(_ key: String, oneOf choices: [Int64], default fallback: Int64, doc: String) throws(ConfigError) -> Int64 {
        let schema: [String: JSONValue] = ["enum": .array(choices.map { .integer($0) })]
        let found = try field(key, schema, doc: doc, default: .integer(fallback), required: false) ?? .integer(fallback)
        guard case .integer(let value) = found, choices.contains(value) else {
            throw mismatch(key, expected: "one of \(choices.map(String.init).joined(separator: ", "))", found: found)
        }
        note(key, found)
        return value
    }

    /// A string, or nothing; `pattern` is a character rule checked by `matches` and shown in the schema.
    public func optionalString(
        _ key: String, default fallback: String? = nil, required: Bool = false, rule: StringRule = .any, doc: String
    ) throws(ConfigError) -> String? {
        var schema: [String: JSONValue] = ["type": "string"]
        if let pattern = rule.pattern { schema["pattern"] = .string(pattern) }
        let default_ = fallback.map { JSONValue.string($0) }
        guard let found = try field(key, schema, doc: doc, default: default_, required: required) ?? default_ else {
            return isDescribing && required ? "" : nil
        }
        guard case .string(let value) = found, rule.accepts(value) else { throw mismatch(key, expected: rule.spoken, found: found) }
        note(key, found)
        return value
    }

    /// A string that must be there.
    public func string(_ key: String, rule: StringRule = .any, doc: String) throws(ConfigError) -> String {
        try optionalString(key, required: true, rule: rule, doc: doc) ?? ""
    }

    /// A path, made absolute against the document's directory; or nothing.
    public func optionalPath(_ key: String, required: Bool = false, doc: String) throws(ConfigError) -> String? {
        guard let written = try optionalString(key, required: required, rule: .path, doc: doc) else { return nil }
        let path = resolvePath(written)
        note(key, .string(path))
        return path
    }

    /// A path that must be there.
    public func path(_ key: String, doc: String) throws(ConfigError) -> String { try optionalPath(key, required: true, doc: doc) ?? "" }

    /// One of the names of an enumeration.
    public func choice<Choice: RawRepresentable & CaseIterable>(
        _ key: String, default fallback: Choice, doc: String
    ) throws(ConfigError) -> Choice where Choice.RawValue == String {
        let names = Choice.allCases.map { $0.rawValue }
        let default_ = JSONValue.string(fallback.rawValue)
        let schema: [String: JSONValue] = ["enum": .array(names.map { .string($0) })]
        let found = try field(key, schema, doc: doc, default: default_, required: false) ?? default_
        guard case .string(let name) = found, let value = Choice(rawValue: name) else {
            throw mismatch(key, expected: "one of \(names.joined(separator: ", "))", found: found)
        }
        note(key, found)
        return value
    }

    /// One of the names of an enumeration, or nothing.
    public func optionalChoice<Choice: RawRepresentable & CaseIterable>(
        _ key: String, of type: Choice.Type, doc: String
    ) throws(ConfigError) -> Choice? where Choice.RawValue == String {
        let names = Choice.allCases.map { $0.rawValue }
        let schema: [String: JSONValue] = ["enum": .array(names.map { .string($0) })]
        guard let found = try field(key, schema, doc: doc, default: nil, required: false) else { return nil }
        guard case .string(let name) = found, let value = Choice(rawValue: name) else {
            throw mismatch(key, expected: "one of \(names.joined(separator: ", "))", found: found)
        }
        note(key, found)
        return value
    }

    /// An array of strings; an absent one is empty.
    public func strings(_ key: String, doc: String) throws(ConfigError) -> [String] {
        let schema: [String: JSONValue] = ["type": "array", "items": ["type": "string"]]
        let found = try field(key, schema, doc: doc, default: [], required: false) ?? []
        guard case .array(let elements) = found else { throw mismatch(key, expected: "an array of strings", found: found) }
        var values: [String] = []
        for (index, element) in elements.enumerated() {
            guard case .string(let value) = element else {
                throw ConfigError(path: "\(path(of: key))[\(index)]", "expected a string, found \(element.spoken).")
            }
            values.append(value)
        }
        note(key, found)
        return values
    }

    /// A number of bytes: an integer, or a string with a binary suffix (`"512M"`). A multiple of `unit`.
    public func size(_ key: String, in range: ClosedRange<UInt64>, multipleOf unit: UInt64, default fallback: String, doc: String)
        throws(ConfigError) -> UInt64
    {
        let schema: [String: JSONValue] = [
            "oneOf": [
                ["type": "integer", "minimum": .integer(Int64(clamping: range.lowerBound)), "multipleOf": .integer(Int64(clamping: unit))],
                ["type": "string", "pattern": .string(ByteCount.pattern)],
            ]
        ]
        let found = try field(key, schema, doc: doc, default: .string(fallback), required: false) ?? .string(fallback)
        let bytes: UInt64? =
            switch found {
            case .integer(let value): UInt64(exactly: value)
            case .string(let text): ByteCount.parse(text)
            default: nil
            }
        let expected = "a size from \(ByteCount.format(range.lowerBound)) to \(ByteCount.format(range.upperBound)) such as \"512M\", "
        guard let bytes, range.contains(bytes), bytes % unit == 0 else {
            throw mismatch(key, expected: expected + "a multiple of \(ByteCount.format(unit))", found: found)
        }
        note(key, .string(ByteCount.format(bytes)))
        return bytes
    }
}
