/// A stretch of guest addresses from which BARs get their first addresses, there being no firmware to hand them out.
struct PCIWindow: Sendable {
    private let end: UInt64
    private var next: UInt64

    init(_ range: Range<UInt64>) {
        next = range.lowerBound
        end = range.upperBound
    }

    /// `size` bytes (a power of two) at a multiple of `size`, and of the page size so that no page belongs to two functions; nil when
    /// the window is full.
    mutating func allocate(_ size: UInt64) -> UInt64? {
        let alignment = max(size, 4096)
        guard size > 0, size & (size &- 1) == 0 else { return nil }
        let (sum, overflow) = next.addingReportingOverflow(alignment - 1)
        guard !overflow else { return nil }
        let address = sum & ~(alignment - 1)
        guard address <= end, end - address >= alignment else { return nil }
        next = address + alignment
        return address
    }
}
