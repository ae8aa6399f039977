import FoundationEssentials

/// Looks over a JSON text before the decoder does: finds the first syntax error with its line and column, and the first duplicate key
/// with its path. The decoder keeps one of two equal keys without a word; in a configuration that hides a mistake.
struct JSONScanner {
    /// What is wrong with the text.
    struct Failure: Error, Equatable {
        /// Line and column (from 1), or the JSON path of a duplicate key.
        let place: String
        let message: String
    }

    private let bytes: [UInt8]
    private var position = 0

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Deeper nesting than any configuration has; the bound keeps the scanner's own recursion finite.
    private static let maximumDepth = 64

    /// Checks a whole text.
    static func check(_ bytes: [UInt8]) throws(Failure) {
        var scanner = JSONScanner(bytes)
        try scanner.value(path: "", depth: 0)
        scanner.skipSpace()
        if scanner.position < bytes.count { throw scanner.failure("expected the end of the file") }
    }

    private func failure(_ message: String) -> Failure {
        let before = bytes.prefix(position)
        let line = before.count { $0 == UInt8(ascii: "\n") } + 1
        let column = position - (before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0) + 1
        return Failure(place: "line \(line), column \(column)", message: message)
    }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard current == byte else { return false }
        position += 1
        return true
    }

    private mutating func value(path: String, depth: Int) throws(Failure) {
        guard depth < Self.maximumDepth else { throw failure("nested deeper than \(Self.maximumDepth) levels") }
        skipSpace()
        switch current {
        case UInt8(ascii: "{"): try object(path: path, depth: depth)
        case UInt8(ascii: "["): try array(path: path, depth: depth)
        case UInt8(ascii: "\""): _ = try string()
        case UInt8(ascii: "t"): try word("true")
        case UInt8(ascii: "f"): try word("false")
        case UInt8(ascii: "n"): try word("null")
        default: try number()
        }
    }

    private mutating func object(path: String, depth: Int) throws(Failure) {
        position += 1
        skipSpace()
        if take(UInt8(ascii: "}")) { return }
        var keys = KeySet()
        while true {
            skipSpace()
            guard current == UInt8(ascii: "\"") else { throw failure("expected a key in double quotes") }
            let key = try string()
            let keyPath = path.isEmpty ? key : "\(path).\(key)"
            guard keys.insert(key) else { throw Failure(place: keyPath, message: "the key stands here twice") }
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw failure("expected ':' after the key") }
            try value(path: keyPath, depth: depth + 1)
            skipSpace()
            if take(UInt8(ascii: "}")) { return }
            guard take(UInt8(ascii: ",")) else { throw failure("expected ',' or '}'") }
        }
    }

    /// The keys of one object. Few are compared one by one: the first set of strings in a process costs more than all of them.
    private struct KeySet {
        private var few: [String] = []
        private var many: Set<String>?

        /// False when the key was there.
        mutating func insert(_ key: String) -> Bool {
            if many != nil { return many?.insert(key).inserted ?? false }
            guard !few.contains(key) else { return false }
            few.append(key)
            if few.count > 32 { many = Set(few) }
            return true
        }
    }

    private mutating func array(path: String, depth: Int) throws(Failure) {
        position += 1
        skipSpace()
        if take(UInt8(ascii: "]")) { return }
        var index = 0
        while true {
            try value(path: "\(path)[\(index)]", depth: depth + 1)
            index += 1
            skipSpace()
            if take(UInt8(ascii: "]")) { return }
            guard take(UInt8(ascii: ",")) else { throw failure("expected ',' or ']'") }
        }
    }

    /// A string's value. Escapes are left to the decoder, which is asked only where there are any.
    private mutating func string() throws(Failure) -> String {
        let start = position
        position += 1
        var hasEscape = false
        while let byte = current {
            if byte == UInt8(ascii: "\"") {
                position += 1
                let token = bytes[start..<position]
                guard hasEscape else { return String(decoding: token.dropFirst().dropLast(), as: UTF8.self) }
                guard let text = try? JSONDecoder().decode(String.self, from: Data(token)) else {
                    throw failure("the string has a bad escape")
                }
                return text
            }
            if byte < 0x20 { throw failure("control characters in strings must be escaped") }
            if byte == UInt8(ascii: "\\") {
                hasEscape = true
                position += 1
            }
            position += 1
        }
        throw failure("the string does not end")
    }

    private mutating func word(_ word: StaticString) throws(Failure) {
        let text = Array("\(word)".utf8)
        guard bytes[position...].starts(with: text) else { throw failure("expected a value") }
        position += text.count
    }

    private mutating func number() throws(Failure) {
        let start = position
        while let byte = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "+-.eE".utf8.contains(byte) { position += 1 }
        if position == start { throw failure(current == nil ? "the file ends too early" : "expected a value") }
    }
}
