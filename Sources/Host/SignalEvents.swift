import CLinux
import Glibc

/// Signals as readable events: blocks them for the process and reports them through a descriptor (signalfd(2)).
///
/// Make it before any thread starts, so that all threads inherit the blocked signals and none is interrupted by one.
public struct SignalEvents: ~Copyable, Sendable {
    private let descriptor: OwnedDescriptor

    /// Blocks `signals` and collects them.
    public init(_ signals: [Int32]) throws(SystemError) {
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for signal in signals { unsafe sigaddset(&set, signal) }
        unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
        let raw = unsafe signalfd(-1, &set, Int32(SFD_CLOEXEC | SFD_NONBLOCK))
        guard raw >= 0 else { throw SystemError("signalfd", .current) }
        descriptor = OwnedDescriptor(owning: raw)
    }

    /// For polling: readable when a signal waits.
    public var rawValue: Int32 { descriptor.rawValue }

    /// The next signal that has arrived; nil when none waits.
    public func next() -> Int32? {
        var info = signalfd_siginfo()
        let size = MemoryLayout<signalfd_siginfo>.size
        let raw = descriptor.rawValue
        let count = unsafe Glibc.read(raw, &info, size)
        return count == size ? Int32(bitPattern: info.ssi_signo) : nil
    }
}

/// Ignores SIGPIPE: a closed pipe or socket is reported by the write that meets it.
public func ignoreBrokenPipes() {
    signal(SIGPIPE, SIG_IGN)
}
