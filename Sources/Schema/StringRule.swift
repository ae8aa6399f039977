/// Which strings a field accepts: the same rule for the decoder, the schema and the message.
public struct StringRule: Sendable {
    /// The rule as an ECMA-262 regular expression for JSON Schema; nil accepts everything.
    let pattern: String?
    /// What a person should write.
    let spoken: String
    /// Whether a text keeps the rule.
    public let accepts: @Sendable (String) -> Bool

    /// Any string.
    public static let any = StringRule(pattern: nil, spoken: "a string") { _ in true }

    /// A file's path: not empty, no NUL.
    public static let path = StringRule(pattern: "^[^\\u0000]+$", spoken: "a path") { !$0.isEmpty && !$0.utf8.contains(0) }

    /// A file's path from the root: no NUL.
    public static let absolutePath = StringRule(pattern: "^/[^\\u0000]*$", spoken: "an absolute path") {
        $0.hasPrefix("/") && !$0.utf8.contains(0)
    }

    /// Names of VMs and devices: 1–64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit.
    public static let name = StringRule(
        pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", spoken: "a name of 1 to 64 letters, digits, '-', '_' or '.'"
    ) { text in
        guard let first = text.utf8.first, isAlphanumeric(first), text.utf8.count <= 64 else { return false }
        return text.utf8.allSatisfy { isAlphanumeric($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: ".") }
    }

    /// A MAC address: six pairs of hex digits with colons; not a group address.
    public static let mac = StringRule(
        pattern: "^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$", spoken: "a unicast MAC address such as \"52:54:00:12:34:56\""
    ) { text in
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        let octets = parts.compactMap { $0.utf8.count == 2 && $0.utf8.allSatisfy(isHexDigit) ? UInt8($0, radix: 16) : nil }
        return parts.count == 6 && octets.count == 6 && octets[0] & 1 == 0
    }

    /// A network interface's name: 1–15 bytes, no slash or space.
    public static let interface = StringRule(
        pattern: "^[^/\\s\\u0000]{1,15}$", spoken: "an interface name of 1 to 15 characters"
    ) { text in
        (1...15).contains(text.utf8.count) && text.utf8.allSatisfy { $0 > 0x20 && $0 != UInt8(ascii: "/") } && text != "." && text != ".."
    }

    /// A disk's serial: up to 20 printable ASCII characters (virtio 1.3, 5.2.6, VIRTIO_BLK_T_GET_ID).
    public static let serial = StringRule(pattern: "^[ -~]{0,20}$", spoken: "at most 20 printable ASCII characters") { text in
        text.utf8.count <= 20 && text.utf8.allSatisfy { (0x20...0x7e).contains($0) }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"): true
        default: false
        }
    }

    private static func isHexDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "F"), UInt8(ascii: "a")...UInt8(ascii: "f"): true
        default: false
        }
    }
}

/// Numbers of bytes as people write them: `4096`, `512M`, `2G` (binary multiples).
public enum ByteCount {
    /// The accepted form as a regular expression.
    static let pattern = "^[0-9]+[KMGT]?$"

    private static let suffixes: [(letter: Character, shift: UInt64)] = [("T", 40), ("G", 30), ("M", 20), ("K", 10)]

    /// The number, or nil when the text has another form or does not fit into 64 bits.
    public static func parse(_ text: String) -> UInt64? {
        var digits = text[...]
        var shift: UInt64 = 0
        if let last = text.last, let suffix = suffixes.first(where: { $0.letter == last }) {
            shift = suffix.shift
            digits = digits.dropLast()
        }
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), let number = UInt64(digits)
        else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
        return overflow ? nil : product
    }

    /// The shortest text that `parse` turns back into the number.
    public static func format(_ bytes: UInt64) -> String {
        for (letter, shift) in suffixes where bytes != 0 && bytes % (1 << shift) == 0 { return "\(bytes >> shift)\(letter)" }
        return "\(bytes)"
    }
}
