extension JSONValue {
    /// The bytes that a string stands for in strict base64 (RFC 4648, 4); nil for anything else.
    public var base64Bytes: [UInt8]? {
        guard case .string(let text) = self else { return nil }
        return Base64.decode(text)
    }
}

/// Base64 (RFC 4648, 4), strictly: with padding, without line breaks, and with one spelling for each sequence of bytes.
enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    private static let padding = UInt8(ascii: "=")

    /// The value of each character; 0xFF for those that are none.
    private static let values: [UInt8] = {
        var values = [UInt8](repeating: 0xff, count: 256)
        for (value, character) in alphabet.enumerated() { values[Int(character)] = UInt8(truncatingIfNeeded: value) }
        return values
    }()

    static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let count = min(3, bytes.count - start)
            var group: UInt32 = 0
            for index in 0..<3 { group = group << 8 | (index < count ? UInt32(bytes[start + index]) : 0) }
            for index in 0..<4 { text.append(index <= count ? alphabet[Int(group >> UInt32(18 - 6 * index) & 0x3f)] : padding) }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// The bytes that a text stands for; nil when it is not exactly what `encode` gives.
    static func decode(_ text: String) -> [UInt8]? {
        let characters = Array(text.utf8)
        guard characters.count % 4 == 0 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(characters.count / 4 * 3)
        for start in stride(from: 0, to: characters.count, by: 4) {
            var count = 4
            if start + 4 == characters.count {
                if characters[start + 3] == padding { count = characters[start + 2] == padding ? 2 : 3 }
            }
            var group: UInt32 = 0
            for index in 0..<4 {
                let value = index < count ? values[Int(characters[start + index])] : 0
                guard value != 0xff else { return nil }
                group = group << 6 | UInt32(value)
            }
            // Bits that no byte takes must be zero, or several texts would stand for the same bytes.
            guard group & (count == 4 ? 0 : 1 << UInt32(8 * (4 - count)) - 1) == 0 else { return nil }
            for index in 0..<count - 1 { bytes.append(UInt8(truncatingIfNeeded: group >> UInt32(16 - 8 * index))) }
        }
        return bytes
    }
}
