public import Host
import Synchronization
public import Vhost
public import Virtio
public import Virtqueue

/// A vDPA device of the host's kernel. Doorbells and used buffer notifications are events between the queue's owner and the kernel.
public final class VhostVdpaTransport: VirtioTransport {
    private struct State: Sendable {
        var events: [QueueEvents] = []
        var isStarted = false
        /// What is mapped has to be mapped again before the device starts.
        var isReset = false
    }

    private let vdpa: VhostVdpa
    private let memory: TransportMemory
    private let changed: EventFD
    private let state = Mutex(State())
    private let type: DeviceType
    private let largestQueue: UInt16

    /// What was negotiated.
    public let features: Features
    /// The number of queues; nil before Linux 5.18.
    public let maxQueues: Int?

    /// Resets the device and negotiates: it gets what it offers of `wanted`, and VIRTIO_F_ACCESS_PLATFORM if it offers that: its addresses are
    /// those of an I/O page table.
    ///
    /// - Throws: `.refused` for a device without VIRTIO_F_VERSION_1, or one that does not take what it has offered.
    public init(_ vdpa: VhostVdpa, wanted: Features) throws(DriverError) {
        let changed = try hosted("make an event") { () throws(SystemError) in try EventFD() }
        let met = try Self.asking { () throws(VdpaError) in
            try vdpa.reset()
            try vdpa.addStatus([.acknowledge, .driver])
            let features = try vdpa.features().intersection(wanted.union([.version1, .accessPlatform]))
            guard features.contains(.version1) else { throw VdpaError(.refused, "The device does not offer VIRTIO_F_VERSION_1.") }
            try vdpa.setFeatures(features)
            try vdpa.addStatus(.featuresOK)
            try vdpa.setConfigurationCall(changed)
            return (
                features, try vdpa.queueCount(), try vdpa.deviceType(), try vdpa.largestQueueSize(), try vdpa.addressRange()
            )
        }
        (features, maxQueues, type, largestQueue) = (met.0, met.1, met.2, met.3)
        memory = TransportMemory(pools: [met.4], limit: nil)
        self.vdpa = vdpa
        self.changed = changed
    }

    deinit { try? vdpa.reset() }

    /// As the device says.
    public var deviceType: DeviceType? { type }
    /// As many as the kernel's table takes.
    public var maxMemoryRegions: Int? { nil }
    /// Pages.
    public var memoryRegionAlignment: Int { SharedMemory.pageSize }
    /// The same for all queues.
    public func maxQueueSize(_ queue: Int) throws(DriverError) -> UInt16? { largestQueue }

    private static func asking<Result>(_ body: () throws(VdpaError) -> Result) throws(DriverError) -> Result {
        do { return try body() } catch {
            throw error.kind == .gone ? .gone(error.description) : .refused(error.description)
        }
    }

    // MARK: Memory

    /// Makes a memory file for the queues: devices of VDUSE reach nothing else.
    public func allocateQueueMemory(_ byteCount: Int) throws(DriverError) -> (memory: SharedMemory, iova: UInt64) {
        let made = try memory.makeQueueMemory(byteCount)
        return (made, try map(made))
    }

    /// An entry of the I/O page table.
    public func map(_ memory: SharedMemory) throws(DriverError) -> UInt64 {
        try self.memory.map(memory) { (mapping) throws(DriverError) in
            try Self.asking { () throws(VdpaError) in try vdpa.dmaMap(memory.range, at: mapping.iova) }
        }
    }

    /// Takes the entry out.
    public func unmap(_ memory: SharedMemory) throws(DriverError) {
        try self.memory.unmap(memory) { (mapping) throws(DriverError) in
            try Self.asking { () throws(VdpaError) in try vdpa.dmaUnmap(at: mapping.iova, size: UInt64(memory.count)) }
        }
    }

    /// A look-up of the device's addresses.
    public func makeTranslator() -> IOVATranslator { IOVATranslator(memory.book) }

    // MARK: Queues

    /// Sets every queue up; the last step is DRIVER_OK.
    public func setUpQueues(_ queues: [QueueConfiguration]) throws(DriverError) {
        try state.withLock { (state) throws(DriverError) in
            guard !state.isStarted else { throw .wrongState("The queues are set up already.") }
            if let count = maxQueues, queues.count > count { throw .noSuchQueue(count) }
            if state.isReset { try negotiateAgain() }
            state.isReset = false
            var events: [QueueEvents] = []
            for _ in queues { events.append(try QueueEvents()) }
            state.events = events
            state.isStarted = true
            let format = features.ring.format
            try Self.asking { () throws(VdpaError) in
                for (index, queue) in queues.enumerated() {
                    try vdpa.setQueueSize(index, queue.size)
                    try vdpa.setQueuePosition(index, .initial, format)
                    try vdpa.setQueueAddresses(
                        index, descriptorArea: queue.descriptorArea, driverArea: queue.driverArea, deviceArea: queue.deviceArea)
                    try vdpa.setCall(index, events[index].call)
                    try vdpa.setKick(index, events[index].kick)
                    try vdpa.setEnabled(index)
                }
                try vdpa.addStatus(.driverOK)
            }
        }
    }

    /// What a reset made the device forget.
    private func negotiateAgain() throws(DriverError) {
        let mappings = memory.book.mappings
        try Self.asking { () throws(VdpaError) in
            try vdpa.addStatus([.acknowledge, .driver])
            try vdpa.setFeatures(features)
            try vdpa.addStatus(.featuresOK)
            try vdpa.setConfigurationCall(changed)
            guard !vdpa.backendFeatures.contains(.persistentTable) else { return }
            // The kernel's table may have outlived what the device knows of it.
            try vdpa.withBatch { () throws(VdpaError) in
                for mapping in mappings {
                    try vdpa.dmaUnmap(at: mapping.iova, size: UInt64(mapping.memory.count))
                    try vdpa.dmaMap(mapping.memory.range, at: mapping.iova)
                }
            }
        }
    }

    /// Signals the event that the kernel waits for.
    public func submissionNotifier(_ queue: Int) throws(DriverError) -> SubmissionNotifier {
        SubmissionNotifier(try events(of: queue).kick)
    }

    /// The event that the kernel signals.
    public func completionEvent(_ queue: Int) throws(DriverError) -> EventFD { try events(of: queue).call }

    private func events(of queue: Int) throws(DriverError) -> QueueEvents {
        try state.withLock { (state) throws(DriverError) in try state.events.of(queue) }
    }

    // MARK: Configuration and state

    /// Asks the kernel. What lies behind the end of the device's configuration space is zero.
    public func readConfiguration(at offset: Int, count: Int) throws(DriverError) -> [UInt8] {
        guard offset >= 0, count > 0, count <= 1 << 16 else { throw .refused("There is no configuration space at \(offset).") }
        return try Self.asking { () throws(VdpaError) in
            let there = min(max(try vdpa.configurationSize() - offset, 0), count)
            let bytes = there > 0 ? try vdpa.configuration(at: offset, count: there) : []
            return bytes + Array(repeating: 0, count: count - bytes.count)
        }
    }

    /// Tells the kernel.
    public func writeConfiguration(_ bytes: [UInt8], at offset: Int) throws(DriverError) {
        try Self.asking { () throws(VdpaError) in try vdpa.setConfiguration(bytes, at: offset) }
    }

    /// Signalled by the device for changes of its configuration space and its status.
    public var changeEvent: EventFD { changed }
    /// None.
    public var hangupDescriptor: Int32? { nil }

    /// Reads the status.
    public func checkDevice() throws(DriverError) {
        if try Self.asking({ () throws(VdpaError) in try vdpa.status() }).contains(.needsReset) { throw .needsReset }
    }

    /// Status 0.
    public func reset() throws(DriverError) {
        try state.withLock { (state) throws(DriverError) in
            defer {
                state.events = []
                state.isStarted = false
                state.isReset = true
            }
            try Self.asking { () throws(VdpaError) in try vdpa.reset() }
            if let queues = memory.dropQueueMemory() { try unmap(queues) }
        }
    }
}
