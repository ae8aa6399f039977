import GuestMemory
public import Host
import Synchronization
public import Virtio
public import Virtqueue

/// A device in the same process: with a negotiation, memory files and events, as if it were somewhere else. Memory is mapped once more for the
/// device, under addresses that are not ours.
public final class LoopbackTransport: VirtioTransport {
    private struct State: Sendable {
        var lifecycle = Lifecycle()
        var queues: [QueueConfiguration] = []
        var events: [QueueEvents] = []
        var isAcknowledged = true
    }

    private let device: any VirtioDevice
    private let memory: TransportMemory
    private let signals: DeviceSignals
    private let state = Mutex(State())

    /// What was negotiated.
    public let features: Features

    /// Negotiates with `device`: it gets what it offers of `wanted`. Only the transport may use it from now on.
    ///
    /// - Throws: `.refused` for a device without VIRTIO_F_VERSION_1.
    public init(_ device: any VirtioDevice, wanted: Features) throws(DriverError) {
        guard device.features.contains(.version1) else { throw .refused("\(device.debugLabel) does not offer VIRTIO_F_VERSION_1.") }
        self.device = device
        features = device.features.intersection(wanted.union(.version1))
        // Neither where a device could take addresses for ours, nor in one piece.
        memory = TransportMemory(pools: [1 << 32...(1 << 40) - 1], limit: nil)
        signals = try DeviceSignals()
        device.onDeviceSandboxed()
        device.acknowledge(features)
    }

    deinit { try? reset() }

    /// The device's kind.
    public var deviceType: DeviceType? { device.deviceType }
    /// Those with data.
    public var maxQueues: Int? { device.queueMaxSizes.count }
    /// Any number.
    public var maxMemoryRegions: Int? { nil }
    /// Pages.
    public var memoryRegionAlignment: Int { SharedMemory.pageSize }

    /// As the device says.
    public func maxQueueSize(_ queue: Int) throws(DriverError) -> UInt16? {
        guard device.queueMaxSizes.indices.contains(queue) else { throw .noSuchQueue(queue) }
        return device.queueMaxSizes[queue]
    }

    // MARK: Memory

    /// Makes a memory file for the queues.
    public func allocateQueueMemory(_ byteCount: Int) throws(DriverError) -> (memory: SharedMemory, iova: UInt64) {
        let made = try memory.makeQueueMemory(byteCount)
        return (made, try map(made))
    }

    /// Maps memory for the device. One that is active sleeps meanwhile.
    public func map(_ memory: SharedMemory) throws(DriverError) -> UInt64 {
        try state.withLock { (state) throws(DriverError) in
            try self.memory.map(memory) { (_) throws(DriverError) in try renewMemory(state) }
        }
    }

    /// Unmaps memory for the device. One that is active sleeps meanwhile, with nothing in flight.
    public func unmap(_ memory: SharedMemory) throws(DriverError) {
        try state.withLock { (state) throws(DriverError) in
            try self.memory.unmap(memory) { (_) throws(DriverError) in try renewMemory(state) }
        }
    }

    /// A look-up of the device's addresses.
    public func makeTranslator() -> IOVATranslator { IOVATranslator(memory.book) }

    /// The memory as the device sees it: mapped for the device alone, as it is in another process.
    private func deviceMemory() throws(DriverError) -> GuestMemory {
        let mappings = memory.book.mappings
        return try hosted("map the memory of the device") { () throws(SystemError) in
            var regions: [ForeignRegion] = []
            for mapping in mappings {
                regions.append(
                    try ForeignRegion(
                        guestAddress: mapping.iova, size: UInt64(mapping.memory.count), file: try mapping.memory.file.duplicate(),
                        fileOffset: 0))
            }
            return try GuestMemory(foreign: regions)
        }
    }

    private func renewMemory(_ state: borrowing State) throws(DriverError) {
        guard state.lifecycle.phase == .active else { return }
        let memory = try deviceMemory()
        do {
            guard var old = try device.sleep() else { return }
            var queues = QueueSet(count: state.queues.count)
            for index in state.queues.indices {
                guard let queue = old.take(index) else { continue }
                queues.put(
                    ActiveQueue(
                        index: index,
                        ring: try GuestQueue(
                            state.queues[index], features: features.ring, position: queue.ring.position, memory: memory),
                        kick: queue.kick))
            }
            try device.wake(
                Activation(
                    memory: memory, interrupt: Interrupt(LoopbackInterrupts(state.events, signals)), features: features, queues: queues))
        } catch {
            signals.fail()
            throw .refused("\(device.debugLabel) cannot have its memory changed (\(error)).")
        }
    }

    // MARK: Queues

    /// Activates the device.
    public func setUpQueues(_ queues: [QueueConfiguration]) throws(DriverError) {
        try state.withLock { (state) throws(DriverError) in
            guard state.lifecycle.phase != .active else { throw .wrongState("The queues are set up already.") }
            guard queues.count <= device.queueMaxSizes.count else { throw .noSuchQueue(queues.count - 1) }
            if !state.isAcknowledged { device.acknowledge(features) }
            var events: [QueueEvents] = []
            for _ in queues { events.append(try QueueEvents()) }
            let memory = try deviceMemory()
            do {
                let next = try state.lifecycle.after(.activate)
                var set = QueueSet(count: device.queueMaxSizes.count)
                for index in queues.indices {
                    let ring = try GuestQueue(queues[index], features: features.ring, memory: memory)
                    set.put(ActiveQueue(index: index, ring: ring, kick: events[index].kick))
                }
                try device.activate(
                    Activation(
                        memory: memory, interrupt: Interrupt(LoopbackInterrupts(events, signals)), features: features, queues: set))
                state.lifecycle = next
            } catch {
                throw .refused("\(device.debugLabel) cannot be activated (\(error)).")
            }
            state.queues = queues
            state.events = events
        }
    }

    /// Signals the event that the device waits for.
    public func submissionNotifier(_ queue: Int) throws(DriverError) -> SubmissionNotifier {
        SubmissionNotifier(try events(of: queue).kick)
    }

    /// The event that the device signals.
    public func completionEvent(_ queue: Int) throws(DriverError) -> EventFD { try events(of: queue).call }

    private func events(of queue: Int) throws(DriverError) -> QueueEvents {
        try state.withLock { (state) throws(DriverError) in try state.events.of(queue) }
    }

    // MARK: Configuration and state

    /// Asks the device, again if it changes meanwhile.
    public func readConfiguration(at offset: Int, count: Int) throws(DriverError) -> [UInt8] {
        guard offset >= 0, count >= 0, count <= 1 << 16 else { throw .refused("There is no configuration space at \(offset).") }
        var bytes = [UInt8](repeating: 0, count: count)
        // A device that never stops changing its mind gets its last word.
        for _ in 0..<100 {
            let before = signals.generation
            var span = bytes.mutableSpan
            device.readConfiguration(at: offset, into: &span)
            if signals.generation == before { break }
        }
        return bytes
    }

    /// Passes it on.
    public func writeConfiguration(_ bytes: [UInt8], at offset: Int) throws(DriverError) {
        guard offset >= 0 else { return }
        device.writeConfiguration(at: offset, from: bytes.span)
    }

    /// Signalled for both.
    public var changeEvent: EventFD { signals.changed }
    /// The change event tells.
    public var hangupDescriptor: Int32? { nil }
    /// Whether the device has given up.
    public func checkDevice() throws(DriverError) { if signals.needsReset { throw .needsReset } }

    /// Resets the device.
    public func reset() throws(DriverError) {
        try state.withLock { (state) throws(DriverError) in
            do {
                try device.reset()
                try state.lifecycle.apply(.reset)
            } catch {
                throw .refused("\(device.debugLabel) cannot be reset (\(error)).")
            }
            signals.clear()
            state.queues = []
            state.events = []
            // Negotiation begins anew after a reset (virtio 1.3, 2.4).
            state.isAcknowledged = false
            if let queues = memory.dropQueueMemory() { try memory.unmap(queues) { (_) throws(DriverError) in } }
        }
    }
}

/// What a device in this process has to say, but for its queues.
final class DeviceSignals: Sendable {
    let changed: EventFD
    private let failed = Atomic(false)
    private let changes = Atomic<UInt64>(0)

    init() throws(DriverError) { changed = try hosted("make an event") { () throws(SystemError) in try EventFD() } }

    var needsReset: Bool { failed.load(ordering: .acquiring) }
    var generation: UInt64 { changes.load(ordering: .acquiring) }

    func change() {
        changes.add(1, ordering: .releasing)
        changed.signal()
    }

    func fail() {
        failed.store(true, ordering: .releasing)
        changed.signal()
    }

    func clear() { failed.store(false, ordering: .releasing) }
}

/// Turns what a device says into events.
private final class LoopbackInterrupts: InterruptSink {
    private let events: [QueueEvents]
    private let signals: DeviceSignals

    init(_ events: [QueueEvents], _ signals: DeviceSignals) {
        self.events = events
        self.signals = signals
    }

    func queueUsed(_ queue: Int) { if events.indices.contains(queue) { events[queue].call.signal() } }
    func configurationChanged() { signals.change() }
    func deviceNeedsReset() { signals.fail() }
    func callEvent(_ queue: Int) -> EventFD? { events.indices.contains(queue) ? events[queue].call : nil }
}
