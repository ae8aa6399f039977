/// A place on an event loop where one task waits until it is signalled, until a time, or until the loop ends.
///
/// A signal that comes while nobody waits is kept, once: the next wait returns at once. So whoever looks, finds nothing and then waits misses
/// nothing. Waiting allocates nothing.
@safe public final class Waiter: @unchecked Sendable {
    /// Why a wait is over.
    public enum Reason: Sendable, Equatable {
        /// Somebody has signalled.
        case signalled
        /// The time is up.
        case timeIsUp
        /// The loop is being stopped; no wait lasts any more.
        case ended
    }

    private let loop: EventLoop
    // All of it is the loop's thread's alone, and no access lasts longer than a statement.
    @exclusivity(unchecked) private var continuation: UnsafeContinuation<Void, Never>?
    @exclusivity(unchecked) private var reason = Reason.signalled
    @exclusivity(unchecked) private var isSignalled = false
    /// On CLOCK_MONOTONIC, in nanoseconds.
    private(set) var deadline: UInt64?
    /// Where the loop keeps those that wait.
    var place = 0

    /// A place on `loop` at which nobody waits.
    public init(_ loop: EventLoop) { self.loop = loop }

    /// Wakes the task that waits, or lets the next wait return at once. From any thread.
    public func signal() {
        guard loop.isCurrent else { return loop.deliver(self) }
        if unsafe continuation == nil {
            unsafe isSignalled = true
        } else {
            loop.wake(self, .signalled)
        }
    }

    /// Takes a kept signal back; false when there is none. On the loop's thread.
    @discardableResult
    public func take() -> Bool {
        defer { unsafe isSignalled = false }
        return unsafe isSignalled
    }

    /// Waits for a signal, at most until `deadline` of `monotonicNanoseconds()` (nil: without limit). On the loop's thread, one task at a time.
    public func wait(until deadline: UInt64? = nil) async -> Reason {
        loop.checkIsolated()
        unsafe precondition(continuation == nil, "two tasks wait at one place")
        if loop.isEnding { return .ended }
        if take() { return .signalled }
        self.deadline = deadline
        await unsafe withUnsafeContinuation { continuation in
            unsafe self.continuation = unsafe continuation
            // Other jobs may have run since the first look.
            if loop.isEnding {
                resume(.ended)
            } else if take() {
                resume(.signalled)
            } else {
                loop.add(self)
            }
        }
        return unsafe reason
    }

    /// Ends a wait that the loop has taken note of.
    func resume(_ reason: Reason) {
        unsafe self.reason = reason
        deadline = nil
        let continuation = unsafe continuation
        unsafe self.continuation = nil
        unsafe continuation?.resume()
    }
}
