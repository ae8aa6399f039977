import Glibc
import Virtqueue

/// Reads a whole file, at most `limit` bytes of it ("-" is standard input); EFBIG when it is longer.
public func readWholeFile(_ path: String, limit: Int) throws(SystemError) -> [UInt8] {
    let file = try path == "-" ? OwnedDescriptor(owning: 0).duplicateAndKeep() : OwnedDescriptor.open(path, flags: O_RDONLY)
    return try file.readWhole(limit: limit)
}

extension OwnedDescriptor {
    /// Has reads and writes go on at the file's beginning.
    public borrowing func rewind() throws(SystemError) {
        let raw = rawValue
        _ = try retryingOnInterrupt("lseek") { Int(lseek(raw, 0, SEEK_SET)) }
    }

    /// Reads from where the file stands to its end, at most `limit` bytes; EFBIG when there are more.
    public borrowing func readWhole(limit: Int) throws(SystemError) -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16384)
        while true {
            var span = chunk.mutableSpan
            var untyped = span.untyped
            let count = try read(into: &untyped)
            if count == 0 { return bytes }
            bytes += chunk[..<count]
            if bytes.count > limit { throw SystemError("read", Errno(rawValue: EFBIG)) }
        }
    }
}

/// The process's current directory; "/" when it has been removed.
public func currentDirectory() -> String {
    guard let path = unsafe getcwd(nil, 0) else { return "/" }
    defer { unsafe free(path) }
    return unsafe String(cString: path)
}

extension OwnedDescriptor {
    /// A duplicate of a descriptor that this process keeps (a standard stream).
    consuming func duplicateAndKeep() throws(SystemError) -> OwnedDescriptor {
        let raw = release()
        return OwnedDescriptor(owning: try retryingOnInterrupt("dup") { fcntl(raw, F_DUPFD_CLOEXEC, 3) })
    }
}

/// Whether something stands at a path.
public func pathExists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

/// Whether this process could open the path for reading and writing.
public func pathIsWritable(_ path: String) -> Bool { unsafe access(path, R_OK | W_OK) == 0 }

/// A variable of the environment; nil when it is not set.
public func environmentVariable(_ name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    return unsafe String(cString: value)
}

/// Removes a file or socket; one that is not there is as good as removed.
public func removeFile(_ path: String) { _ = unsafe unlink(path) }
