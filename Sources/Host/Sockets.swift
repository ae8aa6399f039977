import CLinux
import Glibc
public import Virtqueue

/// Two connected stream sockets: what is written to one is read from the other.
@frozen public struct SocketPair: ~Copyable, Sendable {
    /// One end.
    public let first: OwnedDescriptor
    /// The other end.
    public let second: OwnedDescriptor

    /// Makes a pair of Unix stream sockets.
    public init() throws(SystemError) {
        var raw: [Int32] = [-1, -1]
        _ = try retryingOnInterrupt("socketpair") {
            unsafe raw.withUnsafeMutableBufferPointer { unsafe socketpair(AF_UNIX, streamType, 0, $0.baseAddress) }
        }
        first = OwnedDescriptor(owning: raw[0])
        second = OwnedDescriptor(owning: raw[1])
    }
}

/// A pipe: what is written to one end is read from the other.
@frozen public struct Pipe: ~Copyable, Sendable {
    /// The end to read from.
    public let reader: OwnedDescriptor
    /// The end to write to.
    public let writer: OwnedDescriptor

    /// Makes a pipe; `nonBlocking` concerns both ends, also when one is inherited by a child.
    public init(nonBlocking: Bool = false) throws(SystemError) {
        var raw: [Int32] = [-1, -1]
        let flags = O_CLOEXEC | (nonBlocking ? O_NONBLOCK : 0)
        _ = try retryingOnInterrupt("pipe2") {
            unsafe raw.withUnsafeMutableBufferPointer { unsafe pipe2($0.baseAddress, flags) }
        }
        reader = OwnedDescriptor(owning: raw[0])
        writer = OwnedDescriptor(owning: raw[1])
    }
}

/// Unix stream sockets that are found by a path (at most 107 bytes: ENAMETOOLONG).
public enum UnixSocket {
    /// Connects to a listening socket.
    public static func connect(to path: String) throws(SystemError) -> OwnedDescriptor {
        let socket = try makeSocket()
        let raw = socket.rawValue
        _ = try retryingOnInterrupt("connect") { unsafe swv_unix_connect(raw, path) }
        return socket
    }

    /// Connects without waiting: EAGAIN when the listener has as many connections waiting as it takes. The socket is non-blocking.
    public static func connectWithoutWaiting(to path: String) throws(SystemError) -> OwnedDescriptor {
        let socket = try makeSocket()
        try socket.setNonBlocking()
        let raw = socket.rawValue
        _ = try retryingOnInterrupt("connect") { unsafe swv_unix_connect(raw, path) }
        return socket
    }

    /// Makes a listening socket at a path where nothing is yet (EADDRINUSE), for its owner only unless `mode` says more.
    public static func listen(at path: String, mode: UInt32 = 0o600) throws(SystemError) -> OwnedDescriptor {
        let socket = try makeSocket()
        let raw = socket.rawValue
        // bind creates the file with the descriptor's mode, less the umask: it never exists with more rights than it shall have.
        _ = try retryingOnInterrupt("fchmod") { fchmod(raw, mode) }
        _ = try retryingOnInterrupt("bind") { unsafe swv_unix_bind(raw, path) }
        _ = try retryingOnInterrupt("listen") { Glibc.listen(raw, 8) }
        return socket
    }

    /// Whether what stands at a path is a socket (not a link to one).
    public static func exists(at path: String) -> Bool {
        var status = stat()
        return unsafe lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
    }

    /// Takes the next waiting connection; EAGAIN when there is none and the socket is non-blocking.
    public static func accept(on listener: borrowing OwnedDescriptor) throws(SystemError) -> OwnedDescriptor {
        let raw = listener.rawValue
        return OwnedDescriptor(
            owning: try retryingOnInterrupt("accept4") { accept4(raw, nil, nil, Int32(SOCK_CLOEXEC.rawValue)) })
    }

    private static func makeSocket() throws(SystemError) -> OwnedDescriptor {
        OwnedDescriptor(owning: try retryingOnInterrupt("socket") { Glibc.socket(AF_UNIX, streamType, 0) })
    }
}

private var streamType: Int32 { Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) }

extension OwnedDescriptor {
    /// Writes from several ranges to a socket, in order, and returns how many bytes went out. A peer that has gone is EPIPE, never SIGPIPE.
    public borrowing func send(from ranges: Span<HostRange>) throws(SystemError) -> Int {
        let raw = rawValue
        let count = min(ranges.count, 1024)
        return try retryingOnInterrupt("sendmsg") {
            unsafe ranges.withUnsafeBytes { bytes in
                // HostRange has the layout of iovec; a test holds it to that.
                unsafe swv_send_vectors(raw, bytes.baseAddress?.assumingMemoryBound(to: iovec.self), count)
            }
        }
    }

    /// Writes bytes to a socket and returns how many went out. A peer that has gone is EPIPE, never SIGPIPE.
    public borrowing func send(_ bytes: RawSpan) throws(SystemError) -> Int {
        let raw = rawValue
        return try retryingOnInterrupt("send") {
            unsafe bytes.withUnsafeBytes { unsafe Glibc.send(raw, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        }
    }

    /// Whether the peer of a socket has read everything that was sent to it.
    public borrowing func peerHasReadAll() throws(SystemError) -> Bool {
        let raw = rawValue
        var unread: Int32 = 0
        _ = try retryingOnInterrupt("SIOCOUTQ") { unsafe swv_socket_unread(raw, &unread) }
        return unread == 0
    }

    /// Whether the descriptor is a socket.
    public borrowing func isSocket() -> Bool {
        var status = stat()
        return unsafe fstat(rawValue, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
    }
}

extension OwnedDescriptor {
    /// Whether a socket accepts connections.
    public borrowing func isListening() throws(SystemError) -> Bool {
        var answer: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        let raw = rawValue
        _ = try retryingOnInterrupt("getsockopt") { unsafe getsockopt(raw, SOL_SOCKET, SO_ACCEPTCONN, &answer, &size) }
        return answer != 0
    }

    /// Ends a socket's stream in our direction: the peer reads the end. Nothing happens when it has gone.
    public borrowing func hangUp() { _ = shutdown(rawValue, Int32(SHUT_WR)) }

    /// Whether the peer of a socket has closed its end, or ended what it sends.
    public var isHungUp: Bool {
        var entry = pollfd(fd: rawValue, events: Int16(SWV_POLLRDHUP), revents: 0)
        return unsafe poll(&entry, 1, 0) > 0
    }

    /// Waits until there is room to write, for at most `milliseconds`; false when the time is up (or a signal came).
    public borrowing func waitWritable(milliseconds: Int32) throws(SystemError) -> Bool {
        var entry = pollfd(fd: rawValue, events: Int16(POLLOUT), revents: 0)
        let count = unsafe poll(&entry, 1, milliseconds)
        guard count < 0 else { return count > 0 }
        let failure = Errno.current
        if failure == .interrupted { return false }
        throw SystemError("poll", failure)
    }
}
