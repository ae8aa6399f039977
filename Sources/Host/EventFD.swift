import CLinux
import Glibc

/// An eventfd(2): a counter in the kernel that wakes whoever polls it. Kicks, calls and stop signals are eventfds.
///
/// A reference type, because both ends of a notification hold it. Non-blocking and close-on-exec.
public final class EventFD: Sendable {
    /// The descriptor, for polling and for handing to KVM or a peer.
    public let descriptor: OwnedDescriptor

    /// A new eventfd whose counter is 0.
    public init() throws(SystemError) {
        descriptor = OwnedDescriptor(
            owning: try retryingOnInterrupt("eventfd") { eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)) })
    }

    /// Takes over an eventfd that was received from elsewhere.
    public init(owning descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

    /// The descriptor's number.
    public var rawValue: Int32 { descriptor.rawValue }

    /// Adds one to the counter. A full counter (2⁶⁴−2 unread signals) is already as signalled as can be, so nothing is reported.
    public func signal() {
        _ = eventfd_write(descriptor.rawValue, 1)
    }

    /// Sets the counter to 0; true when it was not 0.
    @discardableResult
    public func drain() -> Bool {
        var count: eventfd_t = 0
        return unsafe eventfd_read(descriptor.rawValue, &count) == 0
    }

    /// Whether the counter is not 0, without a change to it.
    public var isSignalled: Bool {
        var entry = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, 0) > 0
    }

    /// Waits until it is signalled, for at most `milliseconds`, without a change to the counter, so that everybody who waits sees it; false
    /// when the time is up.
    public func waitWithoutDraining(milliseconds: Int64) -> Bool {
        let deadline = MonotonicTime.now + milliseconds
        while true {
            var entry = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
            let left = max(deadline - MonotonicTime.now, 0)
            // A signal ends it early: look again.
            if unsafe poll(&entry, 1, Int32(clamping: left)) > 0 { return true }
            if left == 0 { return false }
        }
    }

    /// Waits until the counter is not 0, for at most `timeoutMilliseconds` (nil: without limit), and sets it to 0; false when the time is up.
    public func wait(timeoutMilliseconds: Int64? = nil) -> Bool {
        let deadline = timeoutMilliseconds.map { MonotonicTime.now + $0 }
        while true {
            if drain() { return true }
            var entry = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
            let left = deadline.map { $0 - MonotonicTime.now } ?? -1
            if deadline != nil, left <= 0 { return false }
            // A signal ends it early: look again.
            _ = unsafe poll(&entry, 1, Int32(clamping: left))
        }
    }
}
