import CLinux
import Glibc

/// A point in time as CLOCK_REALTIME tells it: since 1970-01-01 00:00:00 UTC, without leap seconds.
public struct WallTime: Sendable, Equatable {
    /// Whole seconds, rounded down.
    public var seconds: Int64
    /// The rest, 0…999 999 999 ns.
    public var nanoseconds: Int32

    /// A point in time.
    public init(seconds: Int64, nanoseconds: Int32 = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    /// The host's time now.
    public static func now() -> WallTime {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(seconds: Int64(time.tv_sec), nanoseconds: Int32(truncatingIfNeeded: time.tv_nsec))
    }

    /// Nanoseconds since 1970; 0 before, and the greatest number after the year 2554.
    public var sinceEpoch: UInt64 {
        guard let seconds = UInt64(exactly: seconds) else { return 0 }
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? .max : whole &+ UInt64(clamping: nanoseconds)
    }
}
