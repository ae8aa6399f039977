/// Writes a value as JSON text; see `JSONText.encode`.
struct JSONPrinter {
    /// Where lines of scalars are broken, in bytes.
    private static let width = 140

    private let isCompact: Bool
    private var output: [UInt8] = []
    /// Where the line begins that is being written.
    private var lineStart = 0

    init(isCompact: Bool) { self.isCompact = isCompact }

    mutating func print(_ value: JSONValue) -> String {
        write(value, level: 0)
        output.append(UInt8(ascii: "\n"))
        return String(decoding: output, as: UTF8.self)
    }

    private mutating func write(_ value: JSONValue, level: Int) {
        switch value {
        case .null: write("null")
        case .bool(let value): write(value ? "true" : "false")
        case .integer(let value): write("\(value)")
        // The shortest digits that mean this number, with a point or an exponent, so that it is read as a number again.
        case .number(let value): write(value.isFinite ? "\(value)" : "null")
        case .string(let value): writeString(value)
        case .array(let elements) where !isCompact && elements.allSatisfy(\.isScalar): writeScalars(elements, level: level)
        case .array(let elements):
            output.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                begin(index, level: level + 1)
                write(element, level: level + 1)
            }
            end(UInt8(ascii: "]"), isEmpty: elements.isEmpty, level: level)
        case .object(let members):
            output.append(UInt8(ascii: "{"))
            for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
                begin(index, level: level + 1)
                writeString(member.key)
                write(isCompact ? ":" : ": ")
                write(member.value, level: level + 1)
            }
            end(UInt8(ascii: "}"), isEmpty: members.isEmpty, level: level)
        }
    }

    /// What stands before a member or an element.
    private mutating func begin(_ index: Int, level: Int) {
        if index > 0 { output.append(UInt8(ascii: ",")) }
        if !isCompact { breakLine(level: level) }
    }

    private mutating func end(_ bracket: UInt8, isEmpty: Bool, level: Int) {
        if !isCompact, !isEmpty { breakLine(level: level) }
        output.append(bracket)
    }

    private mutating func breakLine(level: Int) {
        output.append(UInt8(ascii: "\n"))
        lineStart = output.count
        output.append(contentsOf: repeatElement(UInt8(ascii: " "), count: 2 * level))
    }

    /// An array of scalars: on this line if it fits with a comma after it, else on lines of its own.
    private mutating func writeScalars(_ elements: [JSONValue], level: Int) {
        let start = output.count
        output.append(UInt8(ascii: "["))
        for (index, element) in elements.enumerated() {
            if index > 0 { write(", ") }
            write(element, level: level)
            // A long array is not written twice as a whole.
            if output.count - lineStart > Self.width { break }
        }
        output.append(UInt8(ascii: "]"))
        guard output.count - lineStart >= Self.width else { return }
        output.removeSubrange(start...)
        output.append(UInt8(ascii: "["))
        breakLine(level: level + 1)
        for (index, element) in elements.enumerated() {
            var scalar = JSONPrinter(isCompact: true)
            scalar.write(element, level: 0)
            if index < elements.count - 1 { scalar.write(",") }
            if index > 0 {
                if output.count - lineStart + 1 + scalar.output.count > Self.width {
                    breakLine(level: level + 1)
                } else {
                    write(" ")
                }
            }
            output.append(contentsOf: scalar.output)
        }
        breakLine(level: level)
        output.append(UInt8(ascii: "]"))
    }

    private mutating func write(_ text: String) { output.append(contentsOf: text.utf8) }

    /// A string with the escapes that JSON demands and no others.
    private mutating func writeString(_ text: String) {
        output.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                output.append(UInt8(ascii: "\\"))
                output.append(byte)
            case 0x08: write("\\b")
            case 0x09: write("\\t")
            case 0x0a: write("\\n")
            case 0x0c: write("\\f")
            case 0x0d: write("\\r")
            case ..<0x20:
                write("\\u00")
                output.append(HexDigit.digit(byte >> 4))
                output.append(HexDigit.digit(byte & 0x0f))
            default: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }
}

extension JSONValue {
    /// Whether the value holds no others.
    fileprivate var isScalar: Bool {
        switch self {
        case .array, .object: false
        default: true
        }
    }
}
