public import Host

/// A file with some of guest RAM's pages, each at its offset in RAM: a full image, or what changed since the one below it.
///
/// The extents say which pages it has. Whatever else the file holds is to be zeros or holes: a restored machine may map those too.
public final class MemoryLayer: Sendable {
    /// The file; reading is enough.
    public let file: OwnedDescriptor
    /// Ascending and not overlapping.
    public let extents: [MemoryExtent]

    /// A layer. Nothing is checked before it is used.
    public init(file: consuming OwnedDescriptor, extents: [MemoryExtent]) {
        self.file = file
        self.extents = extents
    }

    /// Refuses a layer that RAM of `pageCount` pages cannot have, or whose file is no regular file, or ends before its extents do.
    func check(pageCount: Int) throws(SystemError) {
        guard MemoryExtent.areValid(extents, pageCount: pageCount) else {
            throw SystemError("memory image: extents out of order or beyond RAM", .invalidArgument)
        }
        let status = try file.status()
        guard status.kind == .regular else { throw SystemError("memory image: not a regular file", .invalidArgument) }
        let needed = extents.last.map { $0.offset + UInt64($0.byteCount) } ?? 0
        guard status.size >= needed else { throw SystemError("memory image: shorter than its extents", .inputOutput) }
    }
}
