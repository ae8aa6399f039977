public import Host
public import Virtqueue

// RAM as pages of a file: what a snapshot is made of.

extension GuestMemory {
    /// The number of pages of RAM that this process made; 0 for that of another one, which it is not ours to save.
    public var pageCount: Int { (mapping?.range.count ?? 0) / MemoryExtent.pageSize }

    /// The host memory of an extent; nil unless all of it is RAM.
    public func range(of extent: MemoryExtent) -> HostRange? {
        guard let mapping, extent.endPage <= pageCount else { return nil }
        return mapping.range.slice(from: Int(extent.offset), count: extent.byteCount)
    }

    /// The pages whose contents are not those that RAM was made with, as far as can be told without reading them: all that were touched
    /// since (also in huge pages, of which one byte is enough), but for those that a layer backs and nobody wrote.
    ///
    /// `pageTables` is `OwnedDescriptor.pageTables()` of this process, opened before its jail closed. Pages that were copied from a layer
    /// are among them.
    public func ownPages(_ pageTables: borrowing OwnedDescriptor) throws(SystemError) -> PageSet {
        var pages = PageSet(pageCount: pageCount)
        switch file {
        case .some(let file):
            // Other processes write it too, and their page tables are not ours; but it has storage for what anybody touched.
            try file.dataRuns(size: size) { run in
                let first = Int(run.lowerBound) / MemoryExtent.pageSize
                let end = (Int(run.upperBound) + MemoryExtent.pageSize - 1) / MemoryExtent.pageSize
                pages.insert(MemoryExtent(firstPage: first, pageCount: end - first))
            }
        case .none:
            guard let mapping else { break }
            try pageTables.ownPages(of: mapping.range) { pages.insert(MemoryExtent(firstPage: $0, pageCount: $1)) }
        }
        return pages
    }

    /// The pages that layers have.
    public var layerPages: PageSet {
        var pages = PageSet(pageCount: pageCount)
        for layer in layers { for extent in layer.extents { pages.insert(extent) } }
        return pages
    }

    /// All pages that may hold anything but zeros: a superset, found without reading any.
    public func populatedPages(_ pageTables: borrowing OwnedDescriptor) throws(SystemError) -> PageSet {
        var pages = layerPages
        pages.formUnion(try ownPages(pageTables))
        return pages
    }

    /// The pages that were marked as written since the last call, or since RAM was made; none unless it was made with `tracksWrites`.
    ///
    /// A mark comes after its write: what is written while this runs is in this answer or in the next one. What is taken is gone; who fails
    /// to save these pages adds them to the next ones.
    /// A bit that another process has set where there is no RAM is lost.
    public func takeWritten() -> PageSet {
        var pages = PageSet(pageCount: pageCount)
        // That of other RAM is not ours to take.
        guard mapping != nil, let log else { return pages }
        let bits = log.bitmap.take()
        for region in regions {
            let size = MemoryExtent.pageSize
            pages.insert(
                bits, from: Int(region.guestAddress) / size, count: Int(region.size) / size, at: Int(region.fileOffset) / size)
        }
        return pages
    }

    /// Maps and copies the layers.
    func place(_ plan: LayerPlan) throws(SystemError) {
        for piece in plan.mappings {
            let extent = piece.extent
            try mapping?.place(layers[piece.layer].file, from: extent.offset, at: Int(extent.offset), count: extent.byteCount)
        }
        try read(plan.copies)
    }

    /// Copies the layers.
    func copy(_ plan: LayerPlan) throws(SystemError) {
        try copy(plan.mappings)
        try copy(plan.copies)
    }

    /// From file to file in the kernel, which is spared the faults of pages that nobody has touched yet, and clearing them.
    private func copy(_ pieces: [LayerPlan.Piece]) throws(SystemError) {
        for (index, piece) in pieces.enumerated() {
            let extent = piece.extent
            let isCopied: Bool
            do throws(SystemError) {
                switch file {
                case .some(let file): isCopied = try layers[piece.layer].file.copy(extent.byteCount, at: extent.offset, to: file)
                case .none: return try read(pieces)
                }
            } catch {
                // Not every file system has it.
                guard error.errno == .invalidArgument || error.errno == .notImplemented else { throw error }
                return try read(Array(pieces[index...]))
            }
            guard isCopied else { throw SystemError("memory image: shorter than its extents", .inputOutput) }
        }
    }

    private func read(_ pieces: [LayerPlan.Piece]) throws(SystemError) {
        for piece in pieces {
            let extent = piece.extent
            guard let target = range(of: extent) else { continue }
            guard try layers[piece.layer].file.readAll(into: target, at: extent.offset) == target.count else {
                throw SystemError("memory image: shorter than its extents", .inputOutput)
            }
        }
    }
}
