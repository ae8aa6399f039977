import CAtomics
public import Virtqueue

/// Which pages of RAM somebody other than the guest has written: a bit per page, set from any thread.
@usableFromInline @safe
final class WriteLog: @unchecked Sendable {
    // Sendable: the words are only accessed atomically, all else never changes.
    private let words: UnsafeMutablePointer<UInt64>
    private let wordCount: Int
    private let pageCount: Int
    private let base: UnsafeMutableRawPointer
    private let size: Int

    /// A log for all of `memory`, which outlives it.
    init(of memory: HostRange) {
        unsafe base = memory.base
        size = memory.count
        pageCount = memory.count / MemoryExtent.pageSize
        wordCount = (pageCount + 63) / 64
        unsafe words = .allocate(capacity: max(wordCount, 1))
        unsafe words.initialize(repeating: 0, count: wordCount)
    }

    deinit { unsafe words.deallocate() }

    /// Notes that `range` was written. Ranges of other memory are ignored.
    @usableFromInline
    func mark(_ range: HostRange) {
        let offset = unsafe range.base - base
        guard range.count > 0, offset >= 0, offset < size else { return }
        var page = offset / MemoryExtent.pageSize
        let last = (offset + min(range.count, size - offset) - 1) / MemoryExtent.pageSize
        while page <= last {
            let bit = page % 64
            let length = min(64 - bit, last + 1 - page)
            unsafe _ = swv_fetch_or_u64(words + page / 64, (UInt64.max >> UInt64(64 - length)) << UInt64(bit))
            page += length
        }
    }

    /// The pages that were marked since the last call.
    func take() -> PageSet {
        var taken = [UInt64](repeating: 0, count: wordCount)
        for index in 0..<wordCount where unsafe swv_load_u64(words + index) != 0 {
            taken[index] = unsafe swv_exchange_u64(words + index, 0)
        }
        var pages = PageSet(pageCount: pageCount)
        pages.insert(bitmap: taken, at: 0)
        return pages
    }
}
