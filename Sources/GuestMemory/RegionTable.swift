public import Virtqueue

/// The regions as plain memory: a look-up that the hot path can inline, without touching a Swift array.
@usableFromInline @safe
final class RegionTable: @unchecked Sendable {
    // Sendable: written once in init, only read afterwards.
    @usableFromInline let first: UnsafeMutablePointer<Entry>
    @usableFromInline let count: Int

    @usableFromInline @safe
    struct Entry {
        @usableFromInline let guestAddress: UInt64
        @usableFromInline let size: UInt64
        @usableFromInline let base: UnsafeMutableRawPointer
    }

    init(_ regions: [MemoryRegion]) {
        count = regions.count
        unsafe first = .allocate(capacity: regions.count)
        for (index, region) in regions.enumerated() {
            unsafe (first + index).initialize(
                to: Entry(guestAddress: region.guestAddress, size: region.size, base: region.range.base))
        }
    }

    deinit { unsafe first.deallocate() }

    @inlinable
    func range(at address: UInt64, count length: Int) -> HostRange? {
        guard length >= 0 else { return nil }
        for index in 0..<count {
            let entry = unsafe first + index
            let offset = unsafe address &- entry.pointee.guestAddress
            // An address below the region wraps to a huge offset and fails the same comparison.
            if unsafe offset < entry.pointee.size, unsafe UInt64(length) <= entry.pointee.size - offset {
                return unsafe HostRange(base: entry.pointee.base + Int(offset), count: length)
            }
        }
        return nil
    }
}
