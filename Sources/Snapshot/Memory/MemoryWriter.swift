public import GuestMemory
public import Host
import Virtqueue

/// Writes guest RAM to a file while nobody changes it: the machine is asleep.
///
/// Bytes go straight from where they lie to the file. Only pages that may hold something are looked at, so the time depends on what the
/// guest touched, not on what it has. The file is new and empty; after an error it is of no use.
public struct MemoryWriter {
    /// Bytes that are written, hashed or compared in one go: they are in the processor's cache from the look for zeros.
    static let chunk = 1 << 20

    private let memory: GuestMemory
    private let hashes: Bool
    private let isCancelled: () -> Bool

    /// A writer of this RAM. `digest` asks for a digest of what is written. `isCancelled` is asked before every chunk; when it says yes,
    /// writing ends with ECANCELED.
    public init(_ memory: GuestMemory, digest: Bool = false, isCancelled: @escaping () -> Bool = { false }) {
        self.memory = memory
        hashes = digest
        self.isCancelled = isCancelled
    }

    /// Writes all of RAM: the pages that are not zero, with holes for the others, in a file as large as RAM.
    ///
    /// `pageTables` is `OwnedDescriptor.pageTables()` of this process.
    /// - Throws: the failure of a write (ENOSPC, EIO, EFBIG …); EEXIST for a file that is not empty.
    public func writeFull(to file: borrowing OwnedDescriptor, pageTables: borrowing OwnedDescriptor) throws(SystemError) -> MemoryImage {
        try write(try memory.populatedPages(pageTables), to: file) { page, _ in !page.isZero }
    }

    /// Writes the pages of `changed`, zeros as well, for a layer on top of the image that RAM was last saved to.
    ///
    /// - Throws: as `writeFull`.
    public func writeChanges(_ changed: PageSet, to file: borrowing OwnedDescriptor) throws(SystemError) -> MemoryImage {
        try write(changed, to: file) { _, _ in true }
    }

    /// Writes the pages that differ from what `base` has (the layers of RAM of the same size, the lowest first, on which this becomes one
    /// more), zeros as well. Reads what either of them has.
    ///
    /// `pages` are the only ones that can differ, when that is known.
    /// - Throws: as `writeFull`; EIO for a base whose files end before their extents do.
    public func writeDifferences(
        from base: [MemoryLayer], among pages: PageSet? = nil, to file: borrowing OwnedDescriptor, pageTables: borrowing OwnedDescriptor
    ) throws(SystemError) -> MemoryImage {
        var candidates = PageSet(pageCount: memory.pageCount)
        if let pages {
            candidates = pages
        } else {
            for layer in base { for extent in layer.extents { candidates.insert(extent) } }
            candidates.formUnion(try memory.populatedPages(pageTables))
        }
        var old = LayerReader(base, capacity: Self.chunk)
        return try write(candidates, to: file) { (part) throws(SystemError) in
            let before = try old.read(part)
            return { page, extent in
                let offset = (extent.firstPage - part.firstPage) * MemoryExtent.pageSize
                return !page.hasSameBytes(as: before.slice(from: offset, count: page.count))
            }
        }
    }

    /// Says of a page whether it is to be written.
    private typealias Choice = (HostRange, MemoryExtent) -> Bool

    /// Writes the candidates of which `isWanted` says so.
    private func write(
        _ candidates: PageSet, to file: borrowing OwnedDescriptor, isWanted: @escaping Choice
    ) throws(SystemError) -> MemoryImage {
        try write(candidates, to: file) { (_) throws(SystemError) in isWanted }
    }

    /// Writes the candidates, part by part; for each part `choice` gives what to say of its pages. As few runs as there are.
    private func write(
        _ candidates: PageSet, to file: borrowing OwnedDescriptor, choice: (MemoryExtent) throws(SystemError) -> Choice
    ) throws(SystemError) -> MemoryImage {
        guard try file.status().size == 0 else { throw SystemError("memory image: the file is not empty", .exists) }
        var extents: [MemoryExtent] = []
        var hash = SHA256()
        var page = 0
        while let run = candidates.run(from: page) {
            var rest = run
            while rest.pageCount > 0 {
                if isCancelled() { throw SystemError("memory image", .cancelled) }
                let part = MemoryExtent(firstPage: rest.firstPage, pageCount: min(rest.pageCount, Self.chunk / MemoryExtent.pageSize))
                rest = MemoryExtent(firstPage: part.endPage, pageCount: rest.pageCount - part.pageCount)
                for extent in wantedRuns(of: part, try choice(part)) {
                    guard let bytes = memory.range(of: extent) else { continue }
                    try file.writeAll(bytes, at: extent.offset)
                    if hashes { hash.update(bytes) }
                    Self.append(extent, to: &extents)
                }
            }
            page = run.endPage
        }
        // Last, so that a file of the full size is a whole one.
        try file.resize(to: memory.size)
        return MemoryImage(extents: extents, digest: hashes ? hash.finish() : nil)
    }

    /// The runs of pages of `part` that are to be written.
    private func wantedRuns(of part: MemoryExtent, _ isWanted: Choice) -> [MemoryExtent] {
        var runs: [MemoryExtent] = []
        for page in part.firstPage..<part.endPage {
            let extent = MemoryExtent(firstPage: page, pageCount: 1)
            guard let bytes = memory.range(of: extent), isWanted(bytes, extent) else { continue }
            Self.append(extent, to: &runs)
        }
        return runs
    }

    /// Adds an extent behind the last one, as part of it if they touch.
    private static func append(_ extent: MemoryExtent, to extents: inout [MemoryExtent]) {
        if let last = extents.last, last.endPage == extent.firstPage {
            extents[extents.count - 1] = MemoryExtent(firstPage: last.firstPage, pageCount: last.pageCount + extent.pageCount)
        } else {
            extents.append(extent)
        }
    }

    /// Merges a chain of layers, the lowest first, into one full image of RAM of `pageCount` pages.
    ///
    /// - Throws: as `writeFull`, and as the restoring initialiser of `GuestMemory` for layers that cannot be used.
    public static func flatten(
        _ layers: [MemoryLayer], pageCount: Int, to file: borrowing OwnedDescriptor, digest: Bool = false
    ) throws(SystemError) -> MemoryImage {
        guard let size = UInt64(exactly: pageCount), size > 0, size <= 1 << 40 else {
            throw SystemError("memory image: size of RAM", .invalidArgument)
        }
        let memory = try GuestMemory(ranges: [0..<size * UInt64(MemoryExtent.pageSize)], layers: layers)
        return try MemoryWriter(memory, digest: digest).write(memory.layerPages, to: file) { page, _ in !page.isZero }
    }
}
