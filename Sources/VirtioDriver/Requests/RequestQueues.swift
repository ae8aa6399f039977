import Host
import Virtio
import Virtqueue

/// The queues of one device, until their users take them.
final class RequestQueues<Request: RequestLayout>: Sendable {
    private let slots: [Slot<RequestQueue<Request>>]

    /// Makes `count` queues of `size` descriptors, with tables of `tableEntries` indirect descriptors where these were negotiated, and starts
    /// the device.
    init(_ transport: any VirtioTransport, count: Int, size: UInt16, tableEntries: UInt16) throws(DriverError) {
        let features = transport.features.ring
        guard count > 0, features.format.allows(size: size) else {
            throw .refused("There can be no \(count) queues of \(size) descriptors.")
        }
        if let most = transport.maxQueues, count > most { throw .noSuchQueue(most) }
        for index in 0..<count {
            if let most = try transport.maxQueueSize(index), size > most {
                throw .refused("Queue \(index) of the device has at most \(most) descriptors, not \(size).")
            }
        }
        let layout = QueueLayout(size: size, features: features, requestBytes: Request.byteCount, tableEntries: tableEntries)
        let (memory, iova) = try transport.allocateQueueMemory(layout.byteCount * count)
        var blocks: [QueueBlock] = []
        for index in 0..<count {
            let offset = layout.byteCount * index
            blocks.append(
                QueueBlock(iova: iova + UInt64(offset), range: memory.range.slice(from: offset, count: layout.byteCount)))
        }
        // The rings are in order before the device sees them (virtio 1.3, 3.1.1, step 7).
        var rings = FixedArray<RequestQueue<Request>.Ring?>(count: count) { _ in nil }
        for index in 0..<count { rings[index] = try RequestQueue<Request>.Ring(layout, blocks[index], features) }
        try transport.setUpQueues(blocks.map { layout.configuration(at: $0.iova) })
        var slots: [Slot<RequestQueue<Request>>] = []
        for index in 0..<count {
            guard let ring = rings[index].take() else { continue }
            slots.append(
                Slot(
                    try RequestQueue<Request>(
                        transport, index: index, layout: layout, block: blocks[index], memory: memory, ring: ring)))
        }
        self.slots = slots
    }

    /// A queue, once.
    func take(_ index: Int) throws(DriverError) -> RequestQueue<Request> {
        guard slots.indices.contains(index), let queue = slots[index].take() else { throw .noSuchQueue(index) }
        return queue
    }
}

extension RequestQueue {
    /// Sets one queue of `size` descriptors up as all that a device gets, and starts it; with tables of `tableEntries` descriptors each where
    /// indirect descriptors were negotiated.
    public static func make(on transport: any VirtioTransport, size: UInt16, tableEntries: UInt16 = 0) throws(DriverError) -> RequestQueue {
        try RequestQueues<Request>(transport, count: 1, size: size, tableEntries: tableEntries).take(0)
    }
}
