import GuestMemory
import Schema
import Synchronization
import Virtio
import Virtqueue

/// A block device that does nothing by itself: a test writes to its ring what no device should.
final class HostileDevice: VirtioDevice {
    private struct Active: Sendable {
        let memory: GuestMemory
        let configuration: QueueConfiguration
        let interrupt: Interrupt
    }

    private let active = Mutex<Active?>(nil)
    let features: Features = [.version1, .ringPacked, .indirectDescriptors, .eventIndex]
    let deviceType = DeviceType.block
    let debugLabel = "hostile"
    let queueMaxSizes: [UInt16] = [16]
    let keepDescriptors: [Int32] = []

    func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        for index in bytes.indices { bytes[index] = offset + index == 2 ? 1 : 0 }
    }

    func activate(_ activation: consuming Activation) throws(DeviceError) {
        guard let queue = activation.queues.take(0) else { throw DeviceError("no queue") }
        let new = Active(memory: activation.memory, configuration: queue.ring.configuration, interrupt: activation.interrupt)
        active.withLock { $0 = new }
    }

    func reset() { active.withLock { $0 = nil } }
    func stopQueue(_ index: Int) -> ActiveQueue? { nil }
    func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) { throw DeviceError("no queue") }
    func sleep() -> QueueSet? { nil }
    func wake(_ activation: consuming Activation?) throws(DeviceError) {}
    func snapshot() -> JSONValue { [:] }
    func restore(_ state: SavedValue) throws(StateError) {}

    // MARK: Split

    /// Puts an entry into the used ring, where the next one belongs.
    func use(_ id: UInt32, length: UInt32, at index: UInt16, publish: UInt16) {
        withMemory { memory, configuration in
            let entry = configuration.deviceArea + 4 + 8 * UInt64(index % configuration.size)
            memory.store(id, at: entry)
            memory.store(length, at: entry + 4)
            memory.store(publish, at: configuration.deviceArea + 2)
        }
    }

    /// The head of a chain that the driver made available.
    func head(_ index: UInt16) -> UInt16 {
        var head: UInt16 = 0
        withMemory { memory, configuration in
            head = memory.load(at: configuration.driverArea + 4 + 2 * UInt64(index % configuration.size)) ?? .max
        }
        return head
    }

    // MARK: Packed

    /// Makes a slot of the descriptor ring used, in the first round.
    func usePacked(_ slot: UInt16, id: UInt16, length: UInt32, isWritten: Bool = true) {
        withMemory { memory, configuration in
            let place = configuration.descriptorArea + 16 * UInt64(slot)
            memory.store(length, at: place + 8)
            memory.store(id, at: place + 12)
            // VIRTQ_DESC_F_AVAIL and _USED as the wrap counter 1 has them, and WRITE, without which the length means nothing (2.8.1, 2.8.4).
            memory.store(UInt16(1 << 7 | 1 << 15 | (isWritten ? 2 : 0)), at: place + 14)
        }
    }

    /// The id of the descriptor in a slot.
    func packedID(_ slot: UInt16) -> UInt16 {
        var id: UInt16 = .max
        withMemory { memory, configuration in id = memory.load(at: configuration.descriptorArea + 16 * UInt64(slot) + 12) ?? .max }
        return id
    }

    func notify() { active.withLock { $0 }?.interrupt.signalQueue(0) }
    func giveUp() { active.withLock { $0 }?.interrupt.needsReset() }

    /// Overwrites everything that the driver shares with it, as far as it can find it.
    func scribble(_ byte: UInt8) {
        withMemory { memory, _ in for region in memory.regions { region.range.fill(byte) } }
    }

    private func withMemory(_ body: (GuestMemory, QueueConfiguration) -> Void) {
        guard let active = active.withLock({ $0 }) else { return }
        body(active.memory, active.configuration)
    }
}
