/// A set of pages of guest RAM: one bit per page of 4096 bytes, as KVM's dirty log has them.
///
/// 8 GiB of RAM take 256 KiB; stepping through that many zeros takes microseconds.
public struct PageSet: Sendable, Equatable {
    /// The number of pages that RAM has; members lie below it.
    public let pageCount: Int
    private var words: [UInt64]

    /// An empty set for RAM of `pageCount` pages.
    public init(pageCount: Int) {
        self.pageCount = max(pageCount, 0)
        words = [UInt64](repeating: 0, count: (self.pageCount + 63) / 64)
    }

    /// The pages of extents.
    public init(_ extents: [MemoryExtent], pageCount: Int) {
        self.init(pageCount: pageCount)
        for extent in extents { insert(extent) }
    }

    /// Whether there is no page in it.
    public var isEmpty: Bool { words.allSatisfy { $0 == 0 } }

    /// The number of pages in it.
    public var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

    /// Whether a page is in it.
    public func contains(_ page: Int) -> Bool { page >= 0 && page < pageCount && words[page / 64] & 1 << UInt64(page % 64) != 0 }

    /// Adds the pages of an extent; what lies beyond RAM is left out.
    public mutating func insert(_ extent: MemoryExtent) {
        var page = min(extent.firstPage, pageCount)
        let end = min(extent.endPage, pageCount)
        while page < end {
            let bit = page % 64
            let length = min(64 - bit, end - page)
            words[page / 64] |= (UInt64.max >> UInt64(64 - length)) << UInt64(bit)
            page += length
        }
    }

    /// Adds pages from a bitmap whose first bit stands for `firstPage`, lowest bit first: KVM's dirty log of a region that begins there.
    public mutating func insert(bitmap: [UInt64], at firstPage: Int) {
        let start = MemoryExtent(firstPage: firstPage, pageCount: 0).firstPage
        let shift = UInt64(start % 64)
        for (index, word) in bitmap.enumerated() where word != 0 {
            let place = start / 64 + index
            add(word << shift, at: place)
            if shift > 0 { add(word >> (64 - shift), at: place + 1) }
        }
    }

    private mutating func add(_ word: UInt64, at index: Int) {
        guard index < words.count else { return }
        let isPartial = index == words.count - 1 && pageCount % 64 != 0
        words[index] |= isPartial ? word & (1 << UInt64(pageCount % 64) - 1) : word
    }

    /// Adds the pages of a set for the same RAM; pages beyond this RAM are left out.
    public mutating func formUnion(_ other: PageSet) { insert(bitmap: other.words, at: 0) }

    /// The first run of pages in the set from page `start` on; nil when there is none.
    public func run(from start: Int) -> MemoryExtent? {
        guard let first = next(from: max(start, 0), where: true) else { return nil }
        let end = next(from: first, where: false) ?? pageCount
        return MemoryExtent(firstPage: first, pageCount: end - first)
    }

    /// The runs of pages in the set, in ascending order, each as long as it can be.
    public var runs: [MemoryExtent] {
        var runs: [MemoryExtent] = []
        var page = 0
        while let run = run(from: page) {
            runs.append(run)
            page = run.endPage
        }
        return runs
    }

    /// The first page from `start` on that is in the set, or that is not.
    private func next(from start: Int, where isMember: Bool) -> Int? {
        guard start < pageCount else { return nil }
        var index = start / 64
        var word = (isMember ? words[index] : ~words[index]) & UInt64.max << UInt64(start % 64)
        while word == 0 {
            index += 1
            guard index < words.count else { return nil }
            word = isMember ? words[index] : ~words[index]
        }
        let page = index * 64 + word.trailingZeroBitCount
        return page < pageCount ? page : nil
    }
}
