import Schema

/// JSON as the control socket sends it.
enum ControlText {
    /// A value on one line, with its end: no string holds a raw line break, so only the layout goes.
    static func line(_ value: JSONValue) -> String {
        var result: [UInt8] = []
        var isInString = false
        var isEscaped = false
        for byte in JSONText.encode(value).utf8 {
            if isInString {
                result.append(byte)
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    isInString = false
                }
            } else if byte != 0x20, byte != 0x0a {
                result.append(byte)
                isInString = byte == UInt8(ascii: "\"")
            }
        }
        result.append(0x0a)
        return String(decoding: result, as: UTF8.self)
    }
}
