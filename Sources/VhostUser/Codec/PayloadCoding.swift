/// Takes integers and bytes from a payload, one after the other; nil when too few are left.
struct PayloadReader: ~Escapable {
    private let bytes: Span<UInt8>
    private var position = 0

    @_lifetime(copy bytes)
    init(_ bytes: Span<UInt8>) { self.bytes = bytes }

    var isAtEnd: Bool { position == bytes.count }
    var left: Int { bytes.count - position }

    @_lifetime(self: copy self)
    mutating func uint16() -> UInt16? { integer() }

    @_lifetime(self: copy self)
    mutating func uint32() -> UInt32? { integer() }

    @_lifetime(self: copy self)
    mutating func uint64() -> UInt64? { integer() }

    // vhost-user speaks in the host's byte order, and all our hosts are little-endian.
    @_lifetime(self: copy self)
    private mutating func integer<Value: FixedWidthInteger>() -> Value? {
        let size = Value.bitWidth / 8
        guard left >= size else { return nil }
        var value: Value = 0
        for index in (position..<position + size).reversed() { value = value << 8 | Value(bytes[index]) }
        position += size
        return value
    }

    /// The rest.
    @_lifetime(self: copy self)
    mutating func rest() -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(left)
        while position < bytes.count {
            result.append(bytes[position])
            position += 1
        }
        return result
    }
}

/// Makes a payload.
struct PayloadWriter {
    private(set) var bytes: [UInt8] = []

    mutating func append(_ value: some FixedWidthInteger) {
        for shift in stride(from: 0, to: value.bitWidth, by: 8) { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
    }

    mutating func append(_ more: [UInt8]) { bytes += more }
}
