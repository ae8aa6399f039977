import Host

extension GuestMemory {
    /// The number of pages that hold other bytes than those of another RAM of the same size. Only what either has a layer for is read, so
    /// both are fresh from their layers.
    public func pagesDiffering(from other: GuestMemory) -> Int {
        var candidates = layerPages
        candidates.formUnion(other.layerPages)
        var count = 0
        for run in candidates.runs {
            for page in run.firstPage..<run.endPage {
                let extent = MemoryExtent(firstPage: page, pageCount: 1)
                guard let mine = range(of: extent), let theirs = other.range(of: extent) else { continue }
                if !mine.hasSameBytes(as: theirs) { count += 1 }
            }
        }
        return count
    }
}
