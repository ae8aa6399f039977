public import GuestMemory
public import Host
public import Virtqueue

/// A queue whose ring another process or the kernel processes, or shall process: all that is needed to have it back.
public struct LentQueue: Sendable {
    /// The registers from which the ring is made.
    public let configuration: QueueConfiguration
    /// Where it stood when it was given away, or stopped.
    public var position: QueuePosition
    /// Signalled by the driver's doorbell.
    public let kick: EventFD

    /// Lends a queue.
    public init(_ queue: borrowing ActiveQueue) {
        configuration = queue.ring.configuration
        position = queue.ring.position
        kick = queue.kick
    }

    /// The queue as one of ours, where it stands now.
    ///
    /// - Throws: `QueueFault` when it cannot stand there.
    public func active(_ index: Int, _ features: Features, _ memory: GuestMemory) throws(QueueFault) -> ActiveQueue {
        let ring = try GuestQueue(configuration, features: features.ring, position: position, memory: memory)
        return ActiveQueue(index: index, ring: ring, kick: kick)
    }

    /// How many used entries a split ring has, as its device counts (virtio 1.3, 2.7.8); for packed rings it means nothing.
    public func usedIndex(_ memory: GuestMemory) -> UInt16 { memory.load(at: configuration.deviceArea &+ 2) ?? 0 }
}
