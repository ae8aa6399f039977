import CLinux
import Glibc
import Virtqueue

// What it takes for files to be there after a crash, whole or not at all.

extension OwnedDescriptor {
    /// Waits until the file, or the names in a directory, have reached the storage (fsync(2)).
    public borrowing func synchronize() throws(SystemError) {
        let raw = rawValue
        _ = try retryingOnInterrupt("fsync") { fsync(raw) }
    }
}

extension OwnedDescriptor {
    /// Writes all of `bytes` at the file's own position; ENOSPC if the kernel takes nothing without a reason.
    public borrowing func writeAll(_ bytes: [UInt8]) throws(SystemError) {
        var done = 0
        while done < bytes.count {
            let count = try write(bytes.span.extracting(done...).untyped)
            guard count > 0 else { throw SystemError("write", .noSpace) }
            done += count
        }
    }
}

/// Makes a directory for its owner alone; EEXIST when anything stands there.
public func makePrivateDirectory(_ path: String) throws(SystemError) {
    _ = try retryingOnInterrupt("mkdir") { unsafe mkdir(path, 0o700) }
}

/// Renames a file or directory; EEXIST when anything stands at the new path.
public func renameExclusively(_ old: String, to new: String) throws(SystemError) {
    _ = try retryingOnInterrupt("rename") { unsafe swv_rename_exclusively(old, new) }
}

/// Waits until the names in a directory have reached the storage.
public func synchronizeDirectory(_ path: String) throws(SystemError) {
    try OwnedDescriptor.open(path, flags: O_RDONLY | O_DIRECTORY).synchronize()
}

/// Removes an empty directory; one that is not there is as good as removed.
public func removeEmptyDirectory(_ path: String) { _ = unsafe rmdir(path) }
