/// The memory in which a ring and its buffers lie: turns addresses that the other side wrote into host memory, or refuses.
///
/// Implementations are small values (a pointer to a region table) so that a queue can keep one without reference counting on each
/// access. `GuestMemory` implements it for device side and tests; a driver's HAL implements it in a bare-metal guest.
public protocol QueueMemory {
    /// The host memory behind `count` bytes at `address`, or nil unless every byte of it lies in one region.
    ///
    /// `address` and `count` come from the other side: any value, including ones whose sum overflows, must be answered.
    func range(at address: UInt64, count: Int) -> HostRange?

    /// Whether anybody wants to know what is written. A queue that reads false spares itself the way to `markWritten`.
    var tracksWrites: Bool { get }

    /// Notes that the device has written `range`, or may have: buffers before the used entry that covers them is published, the ring's own
    /// words right after they were stored.
    func markWritten(_ range: HostRange)
}

extension QueueMemory {
    /// True: memory that does not say otherwise hears of every write.
    @inlinable public var tracksWrites: Bool { true }
}
