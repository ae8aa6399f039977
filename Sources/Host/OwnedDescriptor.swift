public import Glibc
public import Virtqueue

/// A file descriptor with exactly one owner, closed when the owner goes.
///
/// Everything made here is close-on-exec: a child gets the descriptors it is meant to have and no others.
public struct OwnedDescriptor: ~Copyable, Sendable {
    /// The descriptor's number, for calls that take one. It stays valid only while this value lives.
    public let rawValue: Int32

    /// Takes ownership of an open descriptor.
    public init(owning rawValue: Int32) { self.rawValue = rawValue }

    deinit { close(rawValue) }

    /// Gives the descriptor's number to somebody who will close it.
    public consuming func release() -> Int32 {
        let raw = rawValue
        discard self
        return raw
    }

    /// Opens a path. `flags` are `O_…` flags without `O_CLOEXEC`, which is always added.
    public static func open(_ path: String, flags: Int32, mode: mode_t = 0) throws(SystemError) -> OwnedDescriptor {
        let raw = try retryingOnInterrupt("open") { unsafe Glibc.open(path, flags | O_CLOEXEC, mode) }
        return OwnedDescriptor(owning: raw)
    }

    /// Another descriptor for the same open file.
    public borrowing func duplicate() throws(SystemError) -> OwnedDescriptor {
        let raw = rawValue
        return OwnedDescriptor(owning: try retryingOnInterrupt("dup") { fcntl(raw, F_DUPFD_CLOEXEC, 3) })
    }

    /// Makes reads and writes return at once with EAGAIN instead of waiting.
    public borrowing func setNonBlocking(_ on: Bool = true) throws(SystemError) {
        let raw = rawValue
        let flags = try retryingOnInterrupt("fcntl") { fcntl(raw, F_GETFL) }
        let wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK
        _ = try retryingOnInterrupt("fcntl") { fcntl(raw, F_SETFL, wanted) }
    }

    /// Reads up to the size of `buffer`; 0 is the end of the file.
    public borrowing func read(into buffer: inout MutableRawSpan) throws(SystemError) -> Int {
        let raw = rawValue
        let result = unsafe buffer.withUnsafeMutableBytes { bytes in
            attempt { unsafe Glibc.read(raw, bytes.baseAddress, bytes.count) }
        }
        return try value(of: result, "read")
    }

    /// Writes up to all of `bytes`; returns how many went out.
    public borrowing func write(_ bytes: RawSpan) throws(SystemError) -> Int {
        let raw = rawValue
        let result = unsafe bytes.withUnsafeBytes { bytes in
            attempt { unsafe Glibc.write(raw, bytes.baseAddress, bytes.count) }
        }
        return try value(of: result, "write")
    }

    /// Reads into several ranges, in order. `offset` nil reads at the file's own position (a stream, a tap).
    public borrowing func read(into ranges: Span<HostRange>, at offset: UInt64? = nil) throws(SystemError) -> Int {
        try unsafe vectored(
            offset == nil ? "readv" : "preadv", ranges, offset, stream: { unsafe readv($0, $1, $2) },
            positioned: { unsafe preadv($0, $1, $2, $3) })
    }

    /// Writes from several ranges, in order. `offset` nil writes at the file's own position (a stream, a tap).
    public borrowing func write(from ranges: Span<HostRange>, at offset: UInt64? = nil) throws(SystemError) -> Int {
        try unsafe vectored(
            offset == nil ? "writev" : "pwritev", ranges, offset, stream: { unsafe writev($0, $1, $2) },
            positioned: { unsafe pwritev($0, $1, $2, $3) })
    }

    private borrowing func vectored(
        _ name: StaticString, _ ranges: Span<HostRange>, _ offset: UInt64?,
        stream: (Int32, UnsafePointer<iovec>?, Int32) -> Int,
        positioned: (Int32, UnsafePointer<iovec>?, Int32, off_t) -> Int
    ) throws(SystemError) -> Int {
        guard ranges.count > 0 else { return 0 }
        // The kernel takes at most IOV_MAX ranges at a time; the caller sees a short transfer, as it may for other reasons.
        let count = Int32(min(ranges.count, 1024))
        let raw = rawValue
        var position: off_t?
        if let offset {
            guard let signed = off_t(exactly: offset) else { throw SystemError("\(name)", .invalidArgument) }
            position = signed
        }
        let result = unsafe ranges.withUnsafeBytes { bytes in
            // HostRange has the layout of iovec; a test holds it to that.
            let vectors = unsafe bytes.baseAddress?.assumingMemoryBound(to: iovec.self)
            if let position { return attempt { unsafe positioned(raw, vectors, count, position) } }
            return attempt { unsafe stream(raw, vectors, count) }
        }
        return try value(of: result, name)
    }
}

/// Repeats an interrupted call; a failure comes back as the negative error number (closures given to the standard library's
/// `withUnsafe…` cannot throw a typed error in every position).
@inline(__always)
private func attempt(_ body: () -> Int) -> Int {
    while true {
        let result = body()
        if result >= 0 { return result }
        let failure = errno
        if failure != EINTR { return -Int(failure) }
    }
}

private func value(of result: Int, _ name: StaticString) throws(SystemError) -> Int {
    guard result >= 0 else { throw SystemError("\(name)", Errno(rawValue: Int32(truncatingIfNeeded: -result))) }
    return result
}

extension OwnedDescriptor {
    /// Takes over a descriptor that was inherited under a number, and closes it at an exec; EBADF when there is none.
    public static func adopting(inherited raw: Int32) throws(SystemError) -> OwnedDescriptor {
        _ = try retryingOnInterrupt("fcntl") { fcntl(raw, F_SETFD, FD_CLOEXEC) }
        return OwnedDescriptor(owning: raw)
    }

    /// A copy of a descriptor that this process has inherited, which stays open.
    public static func duplicating(inherited raw: Int32) throws(SystemError) -> OwnedDescriptor {
        OwnedDescriptor(owning: try retryingOnInterrupt("dup") { fcntl(raw, F_DUPFD_CLOEXEC, 3) })
    }
}

extension OwnedDescriptor {
    /// O_DIRECT, which libc's headers hide from Swift (asm-generic/fcntl.h).
    public static let direct: Int32 = 0o40000
}
