import CLinux
import Glibc
public import Virtqueue

/// Fills a range with bytes from the kernel's random number generator (getrandom(2)); returns how many were written, at least one unless the
/// range is empty.
public func fillWithRandomBytes(_ range: HostRange) throws(SystemError) -> Int {
    guard range.count > 0 else { return 0 }
    return try retryingOnInterrupt("getrandom") { unsafe swv_getrandom(range.base, range.count) }
}
