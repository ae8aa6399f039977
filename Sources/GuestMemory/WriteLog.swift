import CAtomics
public import Virtqueue

/// Which pages of RAM somebody other than the guest has written: a bit per page of guest physical memory, set from any thread, and from any
/// process that has the same bitmap.
@usableFromInline @safe
final class WriteLog: @unchecked Sendable {
    // Sendable: all of it never changes, but for the bitmap, whose words are only accessed atomically.
    let bitmap: WriteBitmap
    private let stretches: UnsafeMutablePointer<Stretch>
    private let count: Int

    /// Host memory, and the guest physical address that its first byte is noted under.
    @safe private struct Stretch {
        let base: UnsafeMutableRawPointer
        let size: Int
        let guestAddress: UInt64
    }

    /// A log of what is written to `regions`, which outlive it, and of `aliases` once more under other addresses. Pages that the bitmap has
    /// no bit for are not noted.
    init(of regions: [MemoryRegion], aliases: [(range: HostRange, guestAddress: UInt64)] = [], in bitmap: WriteBitmap) {
        self.bitmap = bitmap
        let all = regions.map { (range: $0.range, guestAddress: $0.guestAddress) } + aliases
        count = all.count
        unsafe stretches = .allocate(capacity: max(all.count, 1))
        for (index, part) in all.enumerated() {
            let stretch = unsafe Stretch(base: part.range.base, size: part.range.count, guestAddress: part.guestAddress)
            unsafe (stretches + index).initialize(to: stretch)
        }
    }

    deinit { unsafe stretches.deallocate() }

    /// Notes that `range` was written. Ranges of other memory are ignored.
    @usableFromInline
    func mark(_ range: HostRange) {
        for index in 0..<count {
            let stretch = unsafe stretches[index]
            let offset = unsafe range.base - stretch.base
            let start = max(offset, 0)
            let end = min(offset &+ range.count, stretch.size)
            guard start < end else { continue }
            // An alias may lie at the end of all addresses.
            let (last, overflow) = stretch.guestAddress.addingReportingOverflow(UInt64(end - 1))
            if !overflow { bitmap.mark(from: stretch.guestAddress &+ UInt64(start), to: last) }
        }
    }
}
