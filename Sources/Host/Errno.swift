import Glibc

/// A Linux error number, and its text.
public struct Errno: Error, Sendable, Equatable, RawRepresentable, CustomStringConvertible {
    /// The number, as in `errno(3)`.
    public let rawValue: Int32

    /// Wraps an error number.
    public init(rawValue: Int32) { self.rawValue = rawValue }

    /// The calling thread's `errno`, to be read directly after a failed call.
    public static var current: Errno { Errno(rawValue: errno) }

    /// The text of the error, such as `No such file or directory`.
    public var description: String {
        // The one error with a remedy that is always the same.
        if rawValue == EMFILE { return "Too many open files: more than the limit that 'ulimit -n' shows" }
        guard let text = unsafe strerror(rawValue) else { return "error \(rawValue)" }
        return unsafe String(cString: text)
    }

    /// No such file or directory.
    public static let noEntry = Errno(rawValue: ENOENT)
    /// Bad descriptor.
    public static let badDescriptor = Errno(rawValue: EBADF)
    /// Interrupted by a signal.
    public static let interrupted = Errno(rawValue: EINTR)
    /// Operation would block.
    public static let wouldBlock = Errno(rawValue: EAGAIN)
    /// Permission denied.
    public static let accessDenied = Errno(rawValue: EACCES)
    /// Operation not permitted.
    public static let notPermitted = Errno(rawValue: EPERM)
    /// Device or resource busy.
    public static let busy = Errno(rawValue: EBUSY)
    /// File exists.
    public static let exists = Errno(rawValue: EEXIST)
    /// Invalid argument.
    public static let invalidArgument = Errno(rawValue: EINVAL)
    /// No space left on device.
    public static let noSpace = Errno(rawValue: ENOSPC)
    /// Not a terminal: the file has no such ioctl.
    public static let notTerminal = Errno(rawValue: ENOTTY)
    /// File too large.
    public static let fileTooLarge = Errno(rawValue: EFBIG)
    /// Operation not supported.
    public static let notSupported = Errno(rawValue: EOPNOTSUPP)
    /// Input/output error.
    public static let inputOutput = Errno(rawValue: EIO)
    /// Connection refused.
    public static let connectionRefused = Errno(rawValue: ECONNREFUSED)
    /// The connection was ended before it was taken.
    public static let connectionAborted = Errno(rawValue: ECONNABORTED)
    /// Function not implemented by this kernel.
    public static let notImplemented = Errno(rawValue: ENOSYS)
    /// Out of memory.
    public static let noMemory = Errno(rawValue: ENOMEM)
    /// Value too large.
    public static let overflow = Errno(rawValue: EOVERFLOW)
    /// No such device.
    public static let noDevice = Errno(rawValue: ENODEV)
    /// Socket operation on something else.
    public static let notSocket = Errno(rawValue: ENOTSOCK)
    /// Operation cancelled.
    public static let cancelled = Errno(rawValue: ECANCELED)
    /// No buffer space available; vhost's answer to a queue that is not there.
    public static let noBuffers = Errno(rawValue: ENOBUFS)
    /// Argument list too long; also said of what is too large.
    public static let tooBig = Errno(rawValue: E2BIG)
    /// Bad address.
    public static let badAddress = Errno(rawValue: EFAULT)
    /// No such device or address.
    public static let noDeviceOrAddress = Errno(rawValue: ENXIO)
}

/// A system call that failed: which one, and why.
public struct SystemError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The call's name, such as `open` or `KVM_CREATE_VM`.
    public let call: String
    /// What the kernel answered.
    public let errno: Errno

    /// Records a failed call.
    public init(_ call: String, _ errno: Errno) {
        self.call = call
        self.errno = errno
    }

    /// `open: No such file or directory`.
    public var description: String { "\(call): \(errno)" }
}

/// Runs a system call that reports failure as −1 in `errno`, again as long as a signal interrupts it.
///
/// The one place where EINTR is handled; calls for which an interruption means something (KVM_RUN, close) do not come here.
@inline(__always)
package func retryingOnInterrupt<T: SignedInteger & FixedWidthInteger>(_ name: StaticString, _ body: () -> T) throws(SystemError) -> T {
    while true {
        let result = body()
        if result != -1 { return result }
        let failure = Errno.current
        if failure != .interrupted { throw SystemError("\(name)", failure) }
    }
}
