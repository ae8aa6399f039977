import CLinux
import Glibc

/// Processor time as the kernel counts it.
public enum ProcessorTime {
    /// Nanoseconds that all threads of a process have run so far, in user space and in the kernel, those that have ended and the kernel's
    /// own threads for its I/O included. ESRCH when there is no such process.
    public static func nanoseconds(of processID: Int32) throws(SystemError) -> UInt64 {
        // The kernel has no greater number for a process, and of one the library would make some other clock.
        guard (1...1 << 22).contains(processID) else { throw SystemError("clock_getcpuclockid", Errno(rawValue: ESRCH)) }
        var clock = clockid_t()
        let found = unsafe clock_getcpuclockid(processID, &clock)
        guard found == 0 else { throw SystemError("clock_getcpuclockid", Errno(rawValue: found)) }
        var time = timespec()
        _ = try retryingOnInterrupt("clock_gettime") { unsafe clock_gettime(clock, &time) }
        return UInt64(clamping: time.tv_sec) &* 1_000_000_000 &+ UInt64(clamping: time.tv_nsec)
    }
}
