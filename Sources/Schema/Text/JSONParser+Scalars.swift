extension JSONParser {
    /// A string (RFC 8259, 7), from its opening quote on.
    mutating func string() throws(Fault) -> String {
        position += 1
        let start = position
        // The text before `copied` once there was an escape; most strings have none and are made from the bytes where they stand.
        var unescaped: [UInt8] = []
        var copied = start
        while let byte = current {
            switch byte {
            case UInt8(ascii: "\""):
                let end = position
                position += 1
                guard copied > start else { return try text(bytes.span.extracting(start..<end), writtenIn: start..<end) }
                unescaped.append(contentsOf: bytes[copied..<end])
                return try text(unescaped.span, writtenIn: start..<end)
            case UInt8(ascii: "\\"):
                unescaped.append(contentsOf: bytes[copied..<position])
                try escape(into: &unescaped)
                copied = position
            case ..<0x20: throw fault("control characters in strings must be escaped")
            default: position += 1
            }
        }
        throw fault("the string does not end")
    }

    /// The string that `utf8` spells, which was written in `range` of the text.
    private func text(_ utf8: Span<UInt8>, writtenIn range: Range<Int>) throws(Fault) -> String {
        do throws(UTF8.ValidationError) { return String(copying: try UTF8Span(validating: utf8)) } catch {
            throw fault("the string is not UTF-8", at: badByte(in: range))
        }
    }

    /// Where a string's bytes stop being UTF-8. Escapes are whole characters in ASCII and stand for whole characters, so what is wrong
    /// with a string is wrong with the bytes that it was written in.
    private func badByte(in range: Range<Int>) -> Int {
        do throws(UTF8.ValidationError) { _ = try UTF8Span(validating: bytes.span.extracting(range)) } catch {
            return range.lowerBound + error.byteOffsets.lowerBound
        }
        return range.lowerBound
    }

    /// Appends what an escape stands for, from its backslash on.
    private mutating func escape(into text: inout [UInt8]) throws(Fault) {
        let start = position
        position += 1
        guard let kind = current else { throw fault("the string does not end") }
        position += 1
        switch kind {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(kind)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0c)
        case UInt8(ascii: "n"): text.append(0x0a)
        case UInt8(ascii: "r"): text.append(0x0d)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            guard let unit = codeUnit() else { throw fault("the string has a bad escape", at: start) }
            guard let scalar = Unicode.Scalar(unit) ?? pair(startingWith: unit) else {
                throw fault("the string has half of a surrogate pair", at: start)
            }
            text.append(contentsOf: scalar.utf8)
        default: throw fault("the string has a bad escape", at: start)
        }
    }

    /// The character that a high surrogate and the escape after it stand for; nil when they are not the two halves of one.
    private mutating func pair(startingWith high: UInt16) -> Unicode.Scalar? {
        guard UTF16.isLeadSurrogate(high), take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")), let low = codeUnit(),
            UTF16.isTrailSurrogate(low)
        else { return nil }
        return Unicode.Scalar(0x1_0000 + UInt32(high & 0x3ff) << 10 + UInt32(low & 0x3ff))
    }

    /// Four hexadecimal digits.
    private mutating func codeUnit() -> UInt16? {
        var unit: UInt16 = 0
        for _ in 0..<4 {
            guard let byte = current, let digit = HexDigit.value(of: byte) else { return nil }
            unit = unit << 4 | UInt16(digit)
            position += 1
        }
        return unit
    }

    /// A number (RFC 8259, 6), or the fault that nothing stands here which a value could begin with.
    mutating func number() throws(Fault) -> JSONValue {
        let start = position
        let isNegative = take(UInt8(ascii: "-"))
        guard let first = current, Self.isDigit(first) else {
            if isNegative { throw fault("expected a digit") }
            throw fault(current == nil ? "the file ends too early" : "expected a value")
        }
        // Counted downwards, because the least integer has no positive counterpart.
        var integer: Int64 = 0
        var fits = true
        while let byte = current, Self.isDigit(byte) {
            if position > start, integer == 0, fits, bytes[position - 1] == UInt8(ascii: "0") {
                throw fault("a number has no leading zeros")
            }
            let (tenfold, overflow) = integer.multipliedReportingOverflow(by: 10)
            let (next, underflow) = tenfold.subtractingReportingOverflow(Int64(byte & 0x0f))
            fits = fits && !overflow && !underflow
            integer = next
            position += 1
        }
        if !isNegative {
            fits = fits && integer != .min
            integer = 0 &- integer
        }
        if take(UInt8(ascii: ".")) {
            fits = false
            try digits()
        }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            fits = false
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            try digits()
        }
        if fits { return .integer(integer) }
        guard let number = Double(String(decoding: bytes[start..<position], as: UTF8.self)), number.isFinite else {
            throw fault("the number is out of range", at: start)
        }
        return .number(number)
    }

    /// One digit or more.
    private mutating func digits() throws(Fault) {
        guard let first = current, Self.isDigit(first) else { throw fault("expected a digit") }
        while let byte = current, Self.isDigit(byte) { position += 1 }
    }

    private static func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") < 10 }
}

/// Hexadecimal digits.
enum HexDigit {
    /// The value of a digit in either case; nil for any other byte.
    static func value(of byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// The digit of a value below 16.
    static func digit(_ value: UInt8) -> UInt8 { value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") &+ (value &- 10) }
}
