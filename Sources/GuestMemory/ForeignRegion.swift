public import Host
import Virtqueue

/// A part of a guest's RAM that another process made, as it tells those who are to serve the guest: a vhost-user front-end's memory region.
public final class ForeignRegion: Sendable {
    /// Guest physical address of the first byte.
    public let guestAddress: UInt64
    /// Size in bytes, more than 0.
    public let size: UInt64
    let mapping: MemoryMapping
    private let offset: Int

    /// Maps a region that begins `fileOffset` bytes into a file.
    ///
    /// The file is mapped from its beginning, which suits files of huge pages as well, and closed again. It must be long enough now; that
    /// nobody truncates it later, only a seal can promise. With `isReadOnly` whatever is written to the region stays in this process, and the
    /// file may be open for reading only. `mayBeSpecial`: it may also be something that has no size to look at, for whose length the kernel
    /// vouches: the memory of one of its drivers.
    /// - Throws: EINVAL for a region without bytes or beyond the address space; EFBIG for a file that is too short; what the kernel answers.
    public init(
        guestAddress: UInt64, size: UInt64, file: consuming OwnedDescriptor, fileOffset: UInt64, isReadOnly: Bool = false,
        mayBeSpecial: Bool = false
    ) throws(SystemError) {
        let (end, overflow) = fileOffset.addingReportingOverflow(size)
        let (_, overflowInGuest) = guestAddress.addingReportingOverflow(size)
        guard size > 0, !overflow, !overflowInGuest, let count = Int(exactly: end), let offset = Int(exactly: fileOffset) else {
            throw SystemError("memory region", .invalidArgument)
        }
        let status = try file.status()
        guard status.size >= end || (mayBeSpecial && status.kind == .other) else { throw SystemError("memory region", .fileTooLarge) }
        mapping = try MemoryMapping(file, count: count, shared: !isReadOnly)
        self.guestAddress = guestAddress
        self.size = size
        self.offset = offset
    }

    /// The region as a part of guest memory.
    var region: MemoryRegion {
        MemoryRegion(
            guestAddress: guestAddress, range: mapping.range.slice(from: offset, count: Int(clamping: size)), fileOffset: UInt64(offset))
    }
}
