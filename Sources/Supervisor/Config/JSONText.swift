import FoundationEssentials
public import Schema

/// JSON text to values and back.
public enum JSONText {
    /// Decodes a text; the error's path is the place of the fault (a line and column, or a duplicate key's path).
    public static func decode(_ bytes: [UInt8]) throws(ConfigError) -> JSONValue {
        do {
            try JSONScanner.check(bytes)
        } catch {
            throw ConfigError(path: error.place, "\(error.message).")
        }
        do {
            return try JSONDecoder().decode(Node.self, from: Data(bytes)).value
        } catch {
            throw ConfigError(path: "", "is not valid JSON.")
        }
    }

    /// Encodes a value with sorted keys, indented, with a newline at the end.
    public static func encode(_ value: JSONValue) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        // Encoding can fail only for numbers that JSON lacks (infinities), which no decoder made.
        guard let data = try? encoder.encode(Node(value: value)) else { return "null\n" }
        return String(decoding: data, as: UTF8.self) + "\n"
    }

    /// `JSONValue` as the coders see it.
    private struct Node: Codable {
        let value: JSONValue

        init(value: JSONValue) { self.value = value }

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let string = try? container.decode(String.self) {
                value = .string(string)
            } else if let members = try? container.decode([String: Node].self) {
                value = .object(members.mapValues(\.value))
            } else if let integer = try? container.decode(Int64.self) {
                value = .integer(integer)
            } else if let bool = try? container.decode(Bool.self) {
                value = .bool(bool)
            } else if container.decodeNil() {
                value = .null
            } else if let elements = try? container.decode([Node].self) {
                value = .array(elements.map(\.value))
            } else {
                value = .number(try container.decode(Double.self))
            }
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            switch value {
            case .null: try container.encodeNil()
            case .bool(let value): try container.encode(value)
            case .integer(let value): try container.encode(value)
            case .number(let value): try container.encode(value)
            case .string(let value): try container.encode(value)
            case .array(let elements): try container.encode(elements.map(Node.init))
            case .object(let members): try container.encode(members.mapValues(Node.init))
            }
        }
    }
}
