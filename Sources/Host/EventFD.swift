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
}
