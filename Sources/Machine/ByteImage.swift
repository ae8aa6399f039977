/// Bytes of a structure that hardware or a boot protocol lays out: little-endian integers at fixed offsets.
///
/// Reading answers nil beyond the end, so that it can be used on files; writing beyond the end does nothing.
struct ByteImage: Sendable, Equatable {
    /// The bytes.
    var bytes: [UInt8]

    /// Takes bytes that were read somewhere.
    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// `count` zero bytes.
    init(count: Int) { bytes = [UInt8](repeating: 0, count: count) }

    /// The integer at `offset`; nil unless it lies inside.
    func load<T: FixedWidthInteger & UnsignedInteger>(_ offset: Int, as type: T.Type = T.self) -> T? {
        let width = T.bitWidth / 8
        guard offset >= 0, offset <= bytes.count, bytes.count - offset >= width else { return nil }
        var value: T = 0
        for index in (0..<width).reversed() { value = value << 8 | T(truncatingIfNeeded: bytes[offset + index]) }
        return value
    }

    /// Sets the integer at `offset`.
    mutating func store<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        let width = T.bitWidth / 8
        guard offset >= 0, offset <= bytes.count, bytes.count - offset >= width else { return }
        for index in 0..<width { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
    }

    /// Adds an integer at the end.
    mutating func append<T: FixedWidthInteger>(_ value: T) {
        for index in 0..<T.bitWidth / 8 { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * index))) }
    }

    /// Adds bytes at the end.
    mutating func append(_ more: [UInt8]) { bytes += more }

    /// Whether these bytes stand at `offset`.
    func has(_ expected: [UInt8], at offset: Int) -> Bool {
        guard offset >= 0, offset <= bytes.count, bytes.count - offset >= expected.count else { return false }
        return bytes[offset..<offset + expected.count].elementsEqual(expected)
    }

    /// Whether this ASCII text stands at `offset`.
    func has(_ expected: String, at offset: Int) -> Bool { has(Array(expected.utf8), at: offset) }
}

/// `value` rounded up to a multiple of `alignment`, a power of two; nil when that leaves 64 bits.
func alignUp(_ value: UInt64, to alignment: UInt64) -> UInt64? {
    let (sum, overflow) = value.addingReportingOverflow(alignment - 1)
    return overflow ? nil : sum & ~(alignment - 1)
}
