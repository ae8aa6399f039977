import Host
public import Virtio
import Virtqueue

/// A driver for one block device (virtio 1.3, 5.2), over any transport. It sets the queues up; each is then taken by the thread that uses it.
public final class BlockDriver: Sendable {
    /// The way to the device.
    public let transport: any VirtioTransport
    private let queues: RequestQueues<BlockRequest>
    /// The number of queues.
    public let queueCount: Int

    /// What the driver understands, for the negotiation of a transport. Packed rings are wanted by those who add them.
    public static let features: Features = [
        .version1, .indirectDescriptors, .eventIndex, .accessPlatform, .blkSizeMax, .blkSegMax, .blkReadOnly, .blkBlkSize, .blkFlush,
        .blkTopology, .blkMQ, .blkDiscard, .blkWriteZeroes,
    ]

    /// Takes a device over: `queues` queues (1, or as many as the device has) of `queueSize` descriptors (a power of two for split rings).
    ///
    /// - Throws: `.refused` for a device of another kind, or one that cannot have such queues.
    public init(_ transport: any VirtioTransport, queues wanted: Int = 1, queueSize: UInt16 = 128) throws(DriverError) {
        if let type = transport.deviceType, type != .block { throw .refused("The device is a \(type) device, not a block device.") }
        self.transport = transport
        let information: BlockInformation = try transport.configuration()
        let limited = information.limited(to: transport.features)
        guard wanted >= 1, wanted <= Int(limited.queues) else { throw .noSuchQueue(Int(limited.queues)) }
        queueCount = wanted
        var size = queueSize
        if let most = try transport.maxQueueSize(0) { size = min(size, most) }
        queues = try RequestQueues(transport, count: wanted, size: size, tableEntries: 32)
    }

    /// What the device says of itself now: its size can change.
    public func information() throws(DriverError) -> BlockInformation {
        try transport.configuration(as: BlockInformation.self).limited(to: transport.features)
    }

    /// A queue, once.
    public func takeQueue(_ index: Int = 0) throws(DriverError) -> BlockQueue {
        let information = try information()
        return BlockQueue(try queues.take(index), transport.features, information)
    }

    /// Memory for data, shown to the device.
    public func makeMemory(byteCount: Int) throws(DriverError) -> SharedMemory {
        let memory = try SharedMemory(byteCount: byteCount)
        _ = try transport.map(memory)
        return memory
    }
}
