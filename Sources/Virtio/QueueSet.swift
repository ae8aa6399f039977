public import GuestMemory
public import Host
public import Virtqueue

/// A queue in guest memory.
public typealias GuestQueue = DeviceQueue<GuestMemory>

/// An activated queue and the eventfd that the driver's available buffer notifications arrive on.
public struct ActiveQueue: ~Copyable, Sendable {
    /// The queue's index (virtio 1.3, 2.6).
    public let index: Int
    /// The device's end of the ring.
    public var ring: GuestQueue
    /// Signalled by the driver's doorbell.
    public let kick: EventFD

    /// Puts a ring and its doorbell together.
    public init(index: Int, ring: consuming GuestQueue, kick: EventFD) {
        self.index = index
        self.ring = ring
        self.kick = kick
    }
}

/// The queues of one device, by index. A queue that the driver did not enable is absent.
public struct QueueSet: ~Copyable, Sendable {
    private var slots: FixedArray<ActiveQueue?>

    /// A set with room for `count` queues, all absent.
    public init(count: Int) { slots = FixedArray(count: count) { _ in nil } }

    /// The number of places, present or absent.
    public var count: Int { slots.count }

    /// Whether the queue is present.
    public func contains(_ index: Int) -> Bool {
        guard slots.indices.contains(index) else { return false }
        return slots[index] != nil
    }

    /// Takes a queue out; nil when it is absent or there is no such place.
    public mutating func take(_ index: Int) -> ActiveQueue? {
        guard slots.indices.contains(index) else { return nil }
        return slots[index].take()
    }

    /// Puts a queue in at its index; one beyond `count` is dropped.
    public mutating func put(_ queue: consuming ActiveQueue) {
        let index = queue.index
        guard slots.indices.contains(index) else { return }
        slots[index] = consume queue
    }
}
