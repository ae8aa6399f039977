import CLinux
import Glibc

/// A timerfd(2) on the monotonic clock: a descriptor that becomes readable when the time is up.
public struct TimerFD: ~Copyable, Sendable {
    private let descriptor: OwnedDescriptor

    /// A timer that is not set. Non-blocking and close-on-exec.
    public init() throws(SystemError) {
        let flags = Int32(TFD_CLOEXEC) | Int32(TFD_NONBLOCK)
        descriptor = OwnedDescriptor(owning: try retryingOnInterrupt("timerfd_create") { timerfd_create(CLOCK_MONOTONIC, flags) })
    }

    /// The descriptor, for polling.
    public var rawValue: Int32 { descriptor.rawValue }

    /// Lets the timer run out once, `nanoseconds` from now (at least one); nil stops it.
    public borrowing func set(nanoseconds: UInt64?) throws(SystemError) {
        let raw = descriptor.rawValue
        var time = itimerspec()
        if let nanoseconds {
            let wait = max(nanoseconds, 1)
            time.it_value.tv_sec = Int(clamping: wait / 1_000_000_000)
            time.it_value.tv_nsec = Int(clamping: wait % 1_000_000_000)
        }
        _ = try retryingOnInterrupt("timerfd_settime") { unsafe timerfd_settime(raw, 0, &time, nil) }
    }

    /// Takes note of the time being up, so that the descriptor is not readable any more; false when it is not up yet.
    @discardableResult
    public borrowing func drain() -> Bool {
        var count: UInt64 = 0
        return unsafe Glibc.read(descriptor.rawValue, &count, MemoryLayout<UInt64>.size) > 0
    }
}

/// The monotonic clock in nanoseconds: for intervals, not for dates.
public func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(clamping: time.tv_sec) &* 1_000_000_000 &+ UInt64(clamping: time.tv_nsec)
}
