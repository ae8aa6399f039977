/// Takes numbers and bytes from an input, one after the other; after its end, zeros and nothing.
public struct Script: Sendable {
    private let bytes: [UInt8]
    private var position = 0

    /// Reads an input from its beginning.
    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Whether nothing is left.
    public var isAtEnd: Bool { position >= bytes.count }

    /// The next byte.
    public mutating func byte() -> UInt8 {
        guard position < bytes.count else { return 0 }
        defer { position += 1 }
        return bytes[position]
    }

    /// The next number, its lowest byte first.
    public mutating func number<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) -> Value {
        var value: Value = 0
        for shift in stride(from: 0, to: Value.bitWidth, by: 8) { value |= Value(truncatingIfNeeded: byte()) << Value(shift) }
        return value
    }

    /// The next `count` bytes, or as many as there are.
    public mutating func take(_ count: Int) -> [UInt8] {
        let end = min(position + count, bytes.count)
        defer { position = end }
        return Array(bytes[position..<end])
    }

    /// The rest.
    public mutating func rest() -> [UInt8] { take(bytes.count) }
}

/// A number as `Script` reads it.
public func bytes(of value: some FixedWidthInteger) -> [UInt8] {
    stride(from: 0, to: value.bitWidth, by: 8).map { UInt8(truncatingIfNeeded: value >> $0) }
}
