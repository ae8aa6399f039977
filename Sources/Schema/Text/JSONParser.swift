/// Makes a value from a JSON text (RFC 8259) in one pass, and stops at the first fault. Duplicate keys show at the end of their object.
///
/// Places are offsets while all is well; lines, columns and paths are worked out only for a fault.
struct JSONParser {
    /// What is wrong with a text.
    enum Fault: Error {
        /// The text breaks the grammar at an offset.
        case syntax(offset: Int, message: String)
        /// A key stands twice in one object.
        case duplicate([JSONPath.Step])

        /// The fault as seen from one level further out.
        func below(_ step: JSONPath.Step) -> Fault {
            switch self {
            case .syntax: self
            case .duplicate(let steps): .duplicate([step] + steps)
            }
        }
    }

    /// Deeper nesting than any document of ours has; the bound keeps the parser's own recursion finite.
    private static let maximumDepth = 64

    let bytes: [UInt8]
    var position = 0

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Parses a whole text.
    static func parse(_ bytes: [UInt8]) throws(Fault) -> JSONValue {
        var parser = JSONParser(bytes)
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.position == bytes.count else { throw parser.fault("expected the end of the file") }
        return value
    }

    /// A fault at an offset, by default here.
    func fault(_ message: String, at offset: Int? = nil) -> Fault { .syntax(offset: offset ?? position, message: message) }

    /// The next byte; nil at the end.
    var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    /// Goes past `byte` if it is the next one.
    mutating func take(_ byte: UInt8) -> Bool {
        guard current == byte else { return false }
        position += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
    }

    private mutating func value(depth: Int) throws(Fault) -> JSONValue {
        guard depth < Self.maximumDepth else { throw fault("nested deeper than \(Self.maximumDepth) levels") }
        skipSpace()
        switch current {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func object(depth: Int) throws(Fault) -> JSONValue {
        position += 1
        skipSpace()
        if take(UInt8(ascii: "}")) { return .object([:]) }
        var members: [(String, JSONValue)] = []
        while true {
            skipSpace()
            guard current == UInt8(ascii: "\"") else { throw fault("expected a key in double quotes") }
            let key = try string()
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw fault("expected ':' after the key") }
            let member: JSONValue
            do throws(Fault) { member = try value(depth: depth + 1) } catch { throw error.below(.key(key)) }
            members.append((key, member))
            skipSpace()
            if take(UInt8(ascii: "}")) { return .object(try dictionary(members)) }
            guard take(UInt8(ascii: ",")) else { throw fault("expected ',' or '}'") }
        }
    }

    /// The members as a dictionary, made at once in its final size.
    private func dictionary(_ members: [(String, JSONValue)]) throws(Fault) -> [String: JSONValue] {
        var result = [String: JSONValue](minimumCapacity: members.count)
        for (key, member) in members {
            guard result.updateValue(member, forKey: key) == nil else { throw .duplicate([.key(key)]) }
        }
        return result
    }

    private mutating func array(depth: Int) throws(Fault) -> JSONValue {
        position += 1
        skipSpace()
        var elements: [JSONValue] = []
        if take(UInt8(ascii: "]")) { return .array(elements) }
        while true {
            do throws(Fault) { elements.append(try value(depth: depth + 1)) } catch { throw error.below(.index(elements.count)) }
            skipSpace()
            if take(UInt8(ascii: "]")) { return .array(elements) }
            guard take(UInt8(ascii: ",")) else { throw fault("expected ',' or ']'") }
        }
    }

    private mutating func word(_ word: String, _ value: JSONValue) throws(Fault) -> JSONValue {
        guard bytes[position...].starts(with: word.utf8) else { throw fault("expected a value") }
        position += word.utf8.count
        return value
    }
}
