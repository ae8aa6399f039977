/// A value that only the thread of one event loop touches, so that it needs no lock. Using it on another thread is a trap.
public final class LoopLocal<Value: ~Copyable>: @unchecked Sendable {
    private let loop: EventLoop
    private var value: Value

    /// Gives `value` to the loop. From any thread.
    public init(_ value: consuming sending Value, on loop: EventLoop) {
        self.loop = loop
        self.value = value
    }

    /// Calls `body` with the value.
    public func withValue<Result: ~Copyable, Failure>(_ body: (inout Value) throws(Failure) -> Result) throws(Failure) -> Result {
        loop.checkIsolated()
        return try body(&value)
    }
}
