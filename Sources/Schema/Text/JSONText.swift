/// JSON text (RFC 8259) to values and back.
public enum JSONText {
    /// Decodes a text in one pass, strictly.
    ///
    /// Nothing is repaired and nothing dropped: a key that stands twice in an object, text that is no UTF-8, half of a surrogate pair,
    /// a number beyond a Double's range, nesting deeper than 64 levels and anything behind the value are errors. The error's path is the
    /// place of the fault: line and column, in bytes from 1, or a duplicate key's path.
    public static func decode(_ bytes: [UInt8]) throws(ConfigError) -> JSONValue {
        do throws(JSONParser.Fault) {
            return try JSONParser.parse(bytes)
        } catch {
            switch error {
            case .syntax(let offset, let message): throw ConfigError(path: place(of: offset, in: bytes), "\(message).")
            case .duplicate(let steps): throw ConfigError(path: JSONPath(steps).description, "the key stands here twice.")
            }
        }
    }

    /// Encodes a value with sorted keys and a newline at the end.
    ///
    /// Members stand one a line, indented by two spaces. An array that holds neither arrays nor objects stands on one line, or on several
    /// of about 140 columns. When `compact`, all of it is one line without spaces. Numbers that JSON lacks (infinities, not-a-number),
    /// which no text has, become null.
    public static func encode(_ value: JSONValue, compact: Bool = false) -> String {
        var printer = JSONPrinter(isCompact: compact)
        return printer.print(value)
    }

    private static func place(of offset: Int, in bytes: [UInt8]) -> String {
        let before = bytes.prefix(offset)
        let line = before.count { $0 == UInt8(ascii: "\n") } + 1
        let column = offset - (before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0) + 1
        return "line \(line), column \(column)"
    }
}
