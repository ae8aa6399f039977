extension SavedValue {
    /// True or false.
    public func bool() throws(StateError) -> Bool {
        guard case .bool(let value)? = found else { throw mismatch(expected: "true or false") }
        return value
    }

    /// An integer of a width, optionally within a narrower range.
    public func integer<T: FixedWidthInteger>(_ type: T.Type = T.self, in range: ClosedRange<T> = T.min...T.max) throws(StateError) -> T {
        guard case .integer(let wide)? = found, let value = T(exactly: wide), range.contains(value) else {
            throw mismatch(expected: "an integer from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    /// A number of up to 64 bits as `JSONValue.hex` writes it: "0x" and up to 16 digits.
    public func hex(upTo limit: UInt64 = .max) throws(StateError) -> UInt64 {
        guard case .string(let text)? = found, let value = Self.hex(text), value <= limit else {
            throw mismatch(expected: "a hexadecimal number \(limit == .max ? "of 64 bits" : "up to 0x" + String(limit, radix: 16))")
        }
        return value
    }

    private static func hex(_ text: String) -> UInt64? {
        let digits = text.utf8.dropFirst(2)
        guard text.utf8.starts(with: "0x".utf8), (1...16).contains(digits.count) else { return nil }
        var value: UInt64 = 0
        for byte in digits {
            guard let digit = HexDigit.value(of: byte) else { return nil }
            value = value << 4 | UInt64(digit)
        }
        return value
    }

    /// A string.
    public func string() throws(StateError) -> String {
        guard case .string(let value)? = found else { throw mismatch(expected: "a string") }
        return value
    }

    /// One of the names of an enumeration.
    public func choice<Choice: CaseIterable & RawRepresentable>(_ type: Choice.Type = Choice.self) throws(StateError) -> Choice
    where Choice.RawValue == String {
        guard case .string(let name)? = found, let choice = Choice(rawValue: name) else {
            throw mismatch(expected: "one of \(Choice.allCases.map { $0.rawValue }.joined(separator: ", "))")
        }
        return choice
    }

    /// An array of bytes, as `JSONValue.bytes` writes it, whose length lies in a range.
    public func bytes(count: ClosedRange<Int>) throws(StateError) -> [UInt8] {
        try array(count: count) { (element) throws(StateError) in try element.integer() }
    }

    /// What the host's kernel gave and only it can read, as `JSONValue.base64` writes it. Its size must lie in a range.
    public func base64(size: ClosedRange<Int>) throws(StateError) -> [UInt8] {
        try read { (fields) throws(StateError) in
            let count = try fields.integer("size", in: size)
            let text = try fields.string("base64")
            guard let bytes = Base64.decode(text) else { throw fields.error("base64", expected: "text in base64 with its padding") }
            guard bytes.count == count else {
                throw fields.error("base64", expected: "\(count) bytes, as size says, found \(bytes.count)")
            }
            return bytes
        }
    }
}

extension JSONValue {
    /// An integer of any width; one beyond 64 bits signed becomes the nearest, so wide values are for `hex`.
    public static func integer<T: FixedWidthInteger>(clamping value: T) -> JSONValue { .integer(Int64(clamping: value)) }

    /// A few bytes that a person may want to read: an array of integers.
    public static func bytes(_ bytes: [UInt8]) -> JSONValue { .array(bytes.map { .integer(Int64($0)) }) }

    /// Bytes that no person reads: `{"size": …, "base64": "…"}`.
    public static func base64(_ bytes: [UInt8]) -> JSONValue {
        ["size": .integer(Int64(bytes.count)), "base64": .string(Base64.encode(bytes))]
    }
}
