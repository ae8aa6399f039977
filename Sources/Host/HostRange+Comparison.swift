import Glibc
public import Virtqueue

extension HostRange {
    /// Whether every byte is zero. Fast: as soon as one is not, and otherwise as fast as libc compares memory.
    public var isZero: Bool {
        guard let first = load(at: 0, as: UInt64.self) else {
            for index in 0..<count where load(at: index, as: UInt8.self) != 0 { return false }
            return true
        }
        // Each byte equals the one eight before it, and the first eight are zero.
        return unsafe first == 0 && memcmp(base, base + 8, count - 8) == 0
    }

    /// Whether two ranges have the same length and hold the same bytes.
    public func hasSameBytes(as other: HostRange) -> Bool { unsafe count == other.count && memcmp(base, other.base, count) == 0 }
}
