import CLinux
import Glibc

/// What fallocate(2) can do to a part of a file without changing its size.
public enum AllocationMode: Sendable {
    /// Gives the storage back; reads return zeros afterwards (FALLOC_FL_PUNCH_HOLE).
    case punchHole
    /// Reads return zeros afterwards; the storage is kept where the file system can (FALLOC_FL_ZERO_RANGE).
    case zeroRange

    var flags: Int32 {
        switch self {
        case .punchHole: SWV_FALLOC_FL_PUNCH_HOLE | SWV_FALLOC_FL_KEEP_SIZE
        case .zeroRange: SWV_FALLOC_FL_ZERO_RANGE | SWV_FALLOC_FL_KEEP_SIZE
        }
    }
}

extension OwnedDescriptor {
    /// Waits until the file's data have reached its storage (fdatasync(2)).
    public borrowing func synchronizeData() throws(SystemError) {
        let raw = rawValue
        _ = try retryingOnInterrupt("fdatasync") { fdatasync(raw) }
    }

    /// Changes how `count` bytes from `offset` are stored (fallocate(2)); EOPNOTSUPP where the file system cannot.
    public borrowing func allocate(_ mode: AllocationMode, at offset: UInt64, count: UInt64) throws(SystemError) {
        let raw = rawValue
        guard let start = off_t(exactly: offset), let length = off_t(exactly: count) else {
            throw SystemError("fallocate", .invalidArgument)
        }
        _ = try retryingOnInterrupt("fallocate") { swv_fallocate(raw, mode.flags, start, length) }
    }

    /// Tells a block device that `count` bytes from `offset` are not needed any more (BLKDISCARD).
    public borrowing func discardBlocks(at offset: UInt64, count: UInt64) throws(SystemError) {
        let raw = rawValue
        _ = try retryingOnInterrupt("BLKDISCARD") { swv_block_discard(raw, offset, count) }
    }

    /// Changes a file's size (ftruncate(2)); new bytes read as zeros.
    public borrowing func resize(to size: UInt64) throws(SystemError) {
        let raw = rawValue
        guard let length = off_t(exactly: size) else { throw SystemError("ftruncate", .invalidArgument) }
        _ = try retryingOnInterrupt("ftruncate") { ftruncate(raw, length) }
    }

    /// Locks the whole file for this open description (F_OFD_SETLK): exclusively, which needs a descriptor that can write, or shared with
    /// other readers. The lock goes when the last descriptor of the description is closed.
    ///
    /// - Returns: false when somebody else holds a lock that does not permit it.
    public borrowing func lockFile(exclusive: Bool) throws(SystemError) -> Bool {
        try setLock(exclusive ? F_WRLCK : F_RDLCK, from: 0)
    }

    /// Leaves a part of the exclusive lock that `lockFile` has taken to another open description of the same file: the file is locked until
    /// both are gone, whichever goes first.
    ///
    /// - Returns: false when somebody else was quicker, or never had a right to the part.
    public borrowing func shareLock(with other: borrowing OwnedDescriptor) throws(SystemError) -> Bool {
        // Whoever wants the file wants all of it, so the lower part keeps others out meanwhile. No file is this long.
        let start: off_t = 1 << 62
        guard try setLock(F_UNLCK, from: start) else { return false }
        return try other.setLock(F_WRLCK, from: start)
    }

    private borrowing func setLock(_ type: Int32, from start: off_t) throws(SystemError) -> Bool {
        let raw = rawValue
        do {
            _ = try retryingOnInterrupt("fcntl F_OFD_SETLK") { swv_set_lock(raw, type, start) }
            return true
        } catch {
            if error.errno == .wouldBlock || error.errno == .accessDenied { return false }
            throw error
        }
    }

    /// Whether somebody else holds an exclusive lock on the file (F_OFD_GETLK). Takes no lock, so nobody notices the question.
    public borrowing func isLockedExclusively() throws(SystemError) -> Bool {
        let raw = rawValue
        return try retryingOnInterrupt("fcntl F_OFD_GETLK") { swv_file_is_locked(raw) } == 1
    }
}
