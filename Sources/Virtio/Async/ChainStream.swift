import GuestMemory
public import Virtqueue

/// The chains that a driver makes available in one queue, in order. Dropping the stream gives it back, and it can be taken again.
///
/// It belongs to the device's thread, as its chains do. Any number of chains may be out at a time, up to the size of the queue.
public struct ChainStream: ~Copyable {
    @usableFromInline let port: QueuePort
    /// Chains that may still come without a look at the rest of the world: a driver that never stops making some available must not keep the
    /// device from being stopped.
    @usableFromInline var credit: UInt16
    @usableFromInline let mostCredit: UInt16

    init(_ port: QueuePort) {
        self.port = port
        mostCredit = port.source.size
        credit = mostCredit
        port.isTaken = true
    }

    deinit { port.isTaken = false }

    /// The queue's index.
    public var queue: Int { port.index }

    /// Whether no chain was ever taken from the queue, by this device or by one in another process.
    public var isFresh: Bool { port.isFresh }

    /// The next chain; nil when the device is being stopped.
    ///
    /// Chains that were returned become visible to the driver, with one notification, when there is no further chain to be had at once. After a
    /// broken rule of the driver (`DEVICE_NEEDS_RESET`) no chain comes until the device is reset.
    @inlinable @inline(__always)
    public mutating func next() async -> GuestChain? {
        if let chain = nextNow() { return chain }
        credit = mostCredit
        return await port.next()
    }

    /// The next chain if there is one now; nil also after as many chains as the queue has descriptors, until `next` was called.
    @inlinable @inline(__always)
    public mutating func nextNow() -> GuestChain? {
        guard credit > 0, let chain = port.source.pop() else { return nil }
        credit &-= 1
        return chain
    }

    /// Makes what was returned visible to the driver at once, instead of when the device waits.
    public func flush() { port.flush() }
}

@available(*, unavailable)
extension ChainStream: Sendable {}
