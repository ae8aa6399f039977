/// A whole configuration document: one reading function gives typed values, the resolved document and the JSON Schema.
public enum ConfigDocument {
    /// Decodes a document. `resolvePath` makes relative paths absolute (against the document's directory).
    ///
    /// Returns the typed value and the document with every default filled in, which decodes to the same value.
    public static func decode<Value>(
        _ document: JSONValue, resolvePath: @escaping (String) -> String, _ read: (ObjectReader) throws(ConfigError) -> Value
    ) throws(ConfigError) -> (value: Value, resolved: JSONValue) {
        guard case .object(let members) = document else {
            throw ConfigError(path: "", "expected an object, found \(document.spoken).")
        }
        let reader = ObjectReader(input: members, path: "", resolvePath: resolvePath)
        let value = try read(reader)
        try reader.finish()
        return (value, .object(reader.resolved))
    }

    /// The JSON Schema (draft 2020-12) of what `read` accepts.
    public static func schema<Value>(title: String, _ read: (ObjectReader) throws(ConfigError) -> Value) throws(ConfigError) -> JSONValue {
        let reader = ObjectReader(input: nil, path: "", resolvePath: { $0 })
        _ = try read(reader)
        var schema = reader.schema
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        schema["title"] = .string(title)
        return .object(schema)
    }
}
