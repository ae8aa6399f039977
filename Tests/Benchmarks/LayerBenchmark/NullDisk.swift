import Host
import Schema
import Synchronization
import Virtio
import Virtqueue

/// A block device without a disk and without a thread: whoever drives it has it answer, on his own thread.
final class NullDisk: VirtioDevice {
    struct Active: ~Copyable, Sendable {
        var queue: ActiveQueue
        var chain = ChainBuffer(capacity: 16)
        init(_ queue: consuming ActiveQueue) { self.queue = queue }
    }

    private let active = Mutex<Active?>(nil)
    let features: Features = [.ours, .ringPacked]
    let deviceType = DeviceType.block
    let debugLabel = "null"
    let queueMaxSizes: [UInt16] = [256]
    let keepDescriptors: [Int32] = []

    /// A terabyte.
    func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        for index in bytes.indices { bytes[index] = offset + index == 3 ? 0x80 : 0 }
    }

    func activate(_ activation: consuming Activation) throws(DeviceError) {
        guard let queue = activation.queues.take(0) else { throw DeviceError("no queue") }
        let slot = Slot(queue)
        active.withLock { active in if let queue = slot.take() { active = Active(queue) } }
    }

    /// Answers everything that is there; returns how much it was.
    func serve() -> Int {
        active.withLock { active in
            var served = 0
            do throws(QueueFault) {
                while try active?.pop() == true { served += 1 }
            } catch {
                fatalError("\(error)")
            }
            _ = active?.queue.ring.publish()
            return served
        }
    }

    func reset() { active.withLock { $0 = nil } }
    func stopQueue(_ index: Int) -> ActiveQueue? { nil }
    func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) { throw DeviceError("no queue") }
    func sleep() -> QueueSet? {
        var queues = QueueSet(count: 1)
        guard let taken = active.withLock({ $0.take() }) else { return nil }
        queues.put(taken.into())
        return queues
    }
    func wake(_ activation: consuming Activation?) throws(DeviceError) { if let activation { try activate(activation) } }
    func snapshot() -> JSONValue { [:] }
    func restore(_ state: SavedValue) throws(StateError) {}
}

extension NullDisk.Active {
    consuming func into() -> ActiveQueue { queue }

    mutating func pop() throws(QueueFault) -> Bool {
        guard try queue.ring.pop(into: &chain) else { return false }
        let written = chain.writableBytes
        chain.takeWritableTail(1)?.store(UInt8(0), at: 0)
        queue.ring.complete(chain, written: UInt32(truncatingIfNeeded: written))
        return true
    }
}
