import CLinux
import Glibc

/// What a `Poller` reports about one descriptor.
public struct PollEvent: Sendable, Equatable {
    /// The number that the descriptor was added with.
    public let token: UInt64
    /// There is something to read, or the other side has hung up (the read will tell).
    public let readable: Bool
    /// There is room to write, or an error to collect by writing.
    public let writable: Bool
    /// The other side has closed its end, or the descriptor is in an error state.
    public let hungUp: Bool
}

/// An epoll(7) set for one thread: waits on many descriptors and says which are ready, by the number each was added with.
///
/// Level-triggered, but for `add(signalsOf:)`. A descriptor must stay open until it is removed or the poller is gone.
public struct Poller: ~Copyable, Sendable {
    private let descriptor: OwnedDescriptor

    /// An empty set.
    public init() throws(SystemError) {
        descriptor = OwnedDescriptor(owning: try retryingOnInterrupt("epoll_create1") { epoll_create1(Int32(EPOLL_CLOEXEC)) })
    }

    /// Adds a descriptor under a number of the caller's choice.
    public borrowing func add(_ rawDescriptor: Int32, token: UInt64, readable: Bool = true, writable: Bool = false) throws(SystemError) {
        try control(EPOLL_CTL_ADD, rawDescriptor, token, readable, writable)
    }

    /// Adds an eventfd of which every signal is reported once, and first whether it is signalled now, so that nobody has to drain it.
    public borrowing func add(signalsOf rawDescriptor: Int32, token: UInt64) throws(SystemError) {
        try control(EPOLL_CTL_ADD, rawDescriptor, token, true, false, isEdge: true)
    }

    /// Changes what is waited for on a descriptor that was added before.
    public borrowing func modify(_ rawDescriptor: Int32, token: UInt64, readable: Bool, writable: Bool) throws(SystemError) {
        try control(EPOLL_CTL_MOD, rawDescriptor, token, readable, writable)
    }

    /// Takes a descriptor out of the set.
    public borrowing func remove(_ rawDescriptor: Int32) throws(SystemError) {
        try control(EPOLL_CTL_DEL, rawDescriptor, 0, false, false)
    }

    private borrowing func control(
        _ operation: Int32, _ raw: Int32, _ token: UInt64, _ readable: Bool, _ writable: Bool, isEdge: Bool = false
    ) throws(SystemError) {
        var event = unsafe epoll_event()
        let wanted = (readable ? EPOLLIN.rawValue : 0) | (writable ? EPOLLOUT.rawValue : 0)
        unsafe event.events = wanted | (isEdge ? EPOLLET.rawValue : 0)
        unsafe event.data.u64 = token
        let set = descriptor.rawValue
        _ = try retryingOnInterrupt("epoll_ctl") { unsafe epoll_ctl(set, operation, raw, &event) }
    }

    /// Waits until something is ready, for at most `timeoutMilliseconds` (nil: without limit), and calls `body` for each event.
    ///
    /// Returns the number of events: 0 after the time is up, and also after a signal, so that callers look at their own state again.
    @discardableResult
    public borrowing func wait(timeoutMilliseconds: Int32? = nil, _ body: (PollEvent) -> Void) throws(SystemError) -> Int {
        var events = unsafe InlineArray<16, epoll_event>(repeating: epoll_event())
        let set = descriptor.rawValue
        var span = unsafe events.mutableSpan
        let count = unsafe span.withUnsafeMutableBufferPointer { buffer in
            unsafe epoll_wait(set, buffer.baseAddress, Int32(buffer.count), timeoutMilliseconds ?? -1)
        }
        guard count >= 0 else {
            let failure = Errno.current
            if failure == .interrupted { return 0 }
            throw SystemError("epoll_wait", failure)
        }
        for index in 0..<Int(count) {
            let event = unsafe events[index]
            let flags = unsafe event.events
            let broken = flags & (EPOLLHUP.rawValue | EPOLLERR.rawValue | EPOLLRDHUP.rawValue) != 0
            body(
                PollEvent(
                    token: unsafe event.data.u64, readable: flags & EPOLLIN.rawValue != 0 || broken,
                    writable: flags & EPOLLOUT.rawValue != 0, hungUp: broken))
        }
        return Int(count)
    }
}
