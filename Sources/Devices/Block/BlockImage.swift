public import Host

/// What a disk image must be, checked on its open descriptor: opening paths is not a device's business.
public enum BlockImage {
    /// What `inspect` found.
    public struct Properties: Sendable, Equatable {
        /// Size in bytes, a multiple of the block size.
        public let size: UInt64
        /// Whether it is a block device, otherwise a regular file.
        public let isBlockDevice: Bool
        /// The size of a block of its storage that is best written as a whole, in bytes, a power of two.
        public let physicalBlock: Int
        /// What O_DIRECT demands.
        public let directAlignment: DirectAlignment
    }

    /// Checks that an open file can be a disk with blocks of `blockSize` bytes. `name` is what messages call it: its path.
    public static func inspect(
        _ descriptor: borrowing OwnedDescriptor, named name: String, blockSize: Int = 512
    ) throws(BlockImageError) -> Properties {
        let status: FileStatus
        do { status = try descriptor.status() } catch { throw .unreadable(name, error) }
        switch status.kind {
        case .directory: throw .directory(name)
        case .other: throw .notAFile(name)
        case .regular, .blockDevice: break
        }
        guard status.size > 0 else { throw .empty(name) }
        guard blockSize >= 512, status.size % UInt64(blockSize) == 0 else {
            throw .notWholeBlocks(name, size: status.size, blockSize: blockSize)
        }
        let preferred = status.preferredBlockSize
        let isPowerOfTwo = preferred > 0 && preferred & (preferred - 1) == 0
        return Properties(
            size: status.size, isBlockDevice: status.kind == .blockDevice,
            // A file system may prefer megabytes; a guest that aligned everything to them would waste its disk.
            physicalBlock: isPowerOfTwo ? min(max(preferred, blockSize), 4096) : blockSize, directAlignment: status.directAlignment)
    }

    /// Locks an open image for as long as the descriptor lives: exclusively if it will be written, otherwise shared with other readers.
    public static func lock(_ descriptor: borrowing OwnedDescriptor, named name: String, readOnly: Bool) throws(BlockImageError) {
        do {
            guard try descriptor.lockFile(exclusive: !readOnly) else { throw BlockImageError.locked(name, readOnly: readOnly) }
        } catch let error as BlockImageError {
            throw error
        } catch let error as SystemError {
            throw .unreadable(name, error)
        } catch {
            throw .notAFile(name)
        }
    }

    /// Has the lock of an image that will be written held by the descriptor for direct I/O, too. A description stays open for as long as writes
    /// that were submitted through it are under way, also when its process has ended: until then nobody else gets the image.
    public static func shareLock(
        of descriptor: borrowing OwnedDescriptor, with direct: borrowing OwnedDescriptor, named name: String
    ) throws(BlockImageError) {
        let isShared: Bool
        do { isShared = try descriptor.shareLock(with: direct) } catch { throw .unreadable(name, error) }
        guard isShared else { throw .locked(name, readOnly: false) }
    }
}

/// Why a file cannot be a disk.
public enum BlockImageError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kernel does not answer questions about it.
    case unreadable(String, SystemError)
    /// A directory.
    case directory(String)
    /// Neither a regular file nor a block device.
    case notAFile(String)
    /// No bytes at all.
    case empty(String)
    /// The size is no multiple of the block size.
    case notWholeBlocks(String, size: UInt64, blockSize: Int)
    /// Somebody else uses it in a way that excludes us.
    case locked(String, readOnly: Bool)

    /// One sentence.
    public var description: String {
        switch self {
        case .unreadable(let name, let error): "The disk image \(name) cannot be used (\(error))."
        case .directory(let name): "The disk image \(name) is a directory; a raw image file or a block device was expected."
        case .notAFile(let name): "The disk image \(name) is neither a regular file nor a block device."
        case .empty(let name): "The disk image \(name) is empty; at least one block was expected."
        case .notWholeBlocks(let name, let size, let blockSize):
            "The disk image \(name) has \(size) bytes; a multiple of \(blockSize) was expected."
        case .locked(let name, let readOnly):
            readOnly
                ? "The disk image \(name) is locked: another VM has it open for writing."
                : "The disk image \(name) is locked: another VM uses it, and a writable image can have only one user."
        }
    }
}
