import Host
public import Schema
import Synchronization
public import Virtio

/// A virtio block device (virtio 1.3, 5.2) over a raw image: a regular file or a block device.
public final class BlockDevice: VirtioDevice {
    private let backend: BlockBackend
    private let space: BlockConfigurationSpace
    private let workers: any QueueHost
    /// One for each worker.
    let counterBlocks: [BlockCounters]
    private let serial: String
    /// What the driver has accepted.
    private let negotiated = Atomic<UInt64>(0)
    /// What `writeback` begins with after each negotiation.
    private let initialWriteback: Bool
    /// The capacity changed while nobody could be told.
    private let announceCapacity = Atomic(false)

    /// The device's id.
    public let debugLabel: String
    /// The size of each request queue.
    public let queueMaxSizes: [UInt16]
    /// What is offered: depends on queues, on `readOnly`, and on what the image's file system can do.
    public let features: Features
    /// As the configuration says.
    public let preferredTransport: TransportKind?
    /// As the configuration says.
    public let bootOrder: UInt?
    /// Whether requests go through io_uring.
    public let usesURing: Bool

    /// Makes the device; rings and everything else that a jail forbids later are made here.
    ///
    /// - Throws: `DeviceError` when the image is no disk (`BlockImageError`), a value is out of range, or the wanted engine is not to be had.
    public init(_ configuration: consuming BlockConfiguration) throws(DeviceError) {
        let label = configuration.label
        try Self.check(configuration)
        let blockSize = configuration.blockSize
        let properties: BlockImage.Properties
        do {
            properties = try BlockImage.inspect(configuration.image, named: label, blockSize: blockSize)
        } catch {
            throw DeviceError(error.description)
        }
        let queueCount = configuration.queues
        let queueSize = configuration.queueSize
        let workerCount = min(max(configuration.workers ?? queueCount, 1), queueCount)
        let engine = configuration.engine
        let readOnly = configuration.readOnly
        let witness = configuration.witness
        var features: Features = [.ours, .blockSegmentMax, .blockSize, .blockFlush, .blockTopology]
        if configuration.packedRing { features.insert(.ringPacked) }
        if queueCount > 1 { features.insert(.blockMultiQueue) }
        let wantsDiscard = configuration.discard
        debugLabel = label
        serial = configuration.serial
        initialWriteback = configuration.writeback
        preferredTransport = configuration.transport
        bootOrder = configuration.bootOrder
        queueMaxSizes = Array(repeating: queueSize, count: queueCount)
        let backend: BlockBackend
        do {
            backend = try BlockBackend(
                image: configuration.image, directImage: configuration.directImage, properties: properties, readOnly: readOnly,
                serial: serial,
                writeback: initialWriteback)
        } catch {
            throw DeviceError("\(label) cannot be made (\(error)).")
        }
        if readOnly {
            features.insert(.blockReadOnly)
        } else {
            features.formUnion([.blockConfigWCE, .blockWriteZeroes])
            if wantsDiscard, backend.canDiscard(size: properties.size) { features.insert(.blockDiscard) }
        }
        self.features = features
        self.backend = backend
        space = BlockConfigurationSpace(
            features: features, segments: BlockLimits.chainCapacity(queueSize: queueSize) - 2, block: blockSize,
            physicalBlock: properties.physicalBlock, queues: queueCount)
        counterBlocks = (0..<workerCount).map { _ in BlockCounters() }
        let layout = WorkerLayout(
            label: label, queues: queueCount, counters: counterBlocks, window: PollingWindow(limit: configuration.pollNanoseconds))
        let perWorker = (queueCount + workerCount - 1) / workerCount * BlockLimits.inFlight(queueSize: queueSize)
        var workers: (any QueueHost)?
        if engine != .sync {
            do {
                workers = try layout.workers(backend) { () throws(SystemError) in
                    try URingBlockEngine(
                        requests: perWorker, prompt: engine == .auto ? PromptTransfers() : nil, witness: witness)
                }
            } catch {
                if engine == .uring {
                    throw DeviceError("\(label) cannot use io_uring (\(error)); the engines \"auto\" and \"sync\" do without.")
                }
            }
        }
        usesURing = workers != nil
        if let workers {
            self.workers = workers
            return
        }
        do {
            self.workers = try layout.workers(backend) { () throws(SystemError) in SynchronousBlockEngine() }
        } catch {
            throw DeviceError("\(label) cannot be made (\(error)).")
        }
    }

    /// Which worker has which queue.
    private struct WorkerLayout {
        let label: String
        let queues: Int
        /// As many as there are workers.
        let counters: [BlockCounters]
        let window: PollingWindow

        func workers<Engine: BlockEngine & ~Copyable>(
            _ backend: BlockBackend, _ engine: () throws(SystemError) -> Engine
        ) throws(SystemError) -> DeviceWorkers<BlockWorker<Engine>> {
            var workloads: [Slot<BlockWorker<Engine>>] = []
            for counters in counters {
                workloads.append(
                    Slot(
                        try BlockWorker(
                            backend, engine: try engine(), queueCount: queues, counters: counters, polling: window)))
            }
            return DeviceWorkers(label: label, workloads: workloads, assignment: (0..<queues).map { $0 % counters.count })
        }
    }

    private static func check(_ configuration: borrowing BlockConfiguration) throws(DeviceError) {
        let label = configuration.label
        guard (1...16).contains(configuration.queues) else {
            throw DeviceError("\(label) has \(configuration.queues) queues, not 1 to 16.")
        }
        let size = configuration.queueSize
        guard (2...1024).contains(size), size & (size - 1) == 0 else {
            throw DeviceError("\(label) has queues of size \(size), which is not a power of two from 2 to 1024.")
        }
        guard configuration.blockSize == 512 || configuration.blockSize == 4096 else {
            throw DeviceError("\(label) has blocks of \(configuration.blockSize) bytes, not 512 or 4096.")
        }
        guard configuration.serial.utf8.count <= BlockLimits.identity, configuration.serial.utf8.allSatisfy({ $0 < 128 }) else {
            throw DeviceError("The serial of \(label) is not ASCII of at most \(BlockLimits.identity) bytes.")
        }
    }

    /// A block device (5.2).
    public var deviceType: DeviceType { .block }

    /// The image, once or twice.
    public var keepDescriptors: [Int32] { backend.descriptors }

    /// The disk's size in bytes.
    public var capacity: UInt64 { backend.capacity.load(ordering: .relaxed) &* BlockLimits.sector }

    /// Keeps what was negotiated, and starts in the cache mode that follows from it.
    public func acknowledge(_ features: Features) {
        negotiated.store(features.rawValue, ordering: .relaxed)
        // Without FLUSH a driver has no way to make writes stable, so every write is (5.2.5.2, 5.2.6.2).
        backend.writeback.store(initialWriteback && features.contains(.blockFlush), ordering: .relaxed)
    }

    /// `struct virtio_blk_config` (5.2.4).
    public func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        space.read(
            at: offset, into: &bytes, capacity: backend.capacity.load(ordering: .relaxed),
            writeback: backend.writeback.load(ordering: .relaxed))
    }

    /// `writeback` is the one field that a driver can write, if VIRTIO_BLK_F_CONFIG_WCE was negotiated.
    public func writeConfiguration(at offset: Int, from bytes: Span<UInt8>) {
        guard Features(rawValue: negotiated.load(ordering: .relaxed)).contains(.blockConfigWCE) else { return }
        let index = BlockConfigurationSpace.writeback &- offset
        guard bytes.indices.contains(index) else { return }
        backend.writeback.store(bytes[index] != 0, ordering: .relaxed)
    }

    /// Starts the workers.
    public func activate(_ activation: consuming Activation) throws(DeviceError) {
        let interrupt = activation.interrupt
        try workers.activate(activation)
        if announceCapacity.exchange(false, ordering: .relaxed) { interrupt.signalConfigurationChange() }
    }

    /// Waits for the I/O in flight, then drops the queues; the cache mode is the configured one again.
    public func reset() {
        workers.reset()
        negotiated.store(0, ordering: .relaxed)
        backend.writeback.store(initialWriteback, ordering: .relaxed)
    }

    /// Waits for the I/O in flight of the queue's worker.
    public func stopQueue(_ index: Int) throws(DeviceError) -> ActiveQueue? { try workers.stopQueue(index) }

    /// Starts one queue.
    public func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) { try workers.startQueue(queue) }

    /// Waits for the I/O in flight.
    public func sleep() -> QueueSet? { workers.sleep() }

    /// Goes on; tells the driver of a capacity that changed meanwhile.
    public func wake(_ activation: consuming Activation?) throws(DeviceError) {
        if let activation { try activate(activation) }
    }

    /// Cache mode and accepted features; and what the disk must be like for a restore.
    public func snapshot() -> JSONValue {
        [
            "capacity": .hex(capacity),
            "serial": .string(serial),
            "readOnly": .bool(backend.readOnly),
            "writeback": .bool(backend.writeback.load(ordering: .relaxed)),
            "features": .hex(negotiated.load(ordering: .relaxed)),
        ]
    }

    /// Takes over cache mode and features, if this is the disk that was saved.
    public func restore(_ state: SavedValue) throws(StateError) {
        let (accepted, writeback) = try state.read { (fields) throws(StateError) in
            let savedCapacity = try fields.hex("capacity")
            guard savedCapacity == capacity else {
                throw fields.error("capacity", expected: "the size of this disk, \(capacity) bytes, found \(savedCapacity)")
            }
            let savedSerial = try fields.string("serial")
            guard savedSerial == serial else {
                throw fields.error("serial", expected: "this disk's serial \"\(serial)\", found \"\(savedSerial)\"")
            }
            guard try fields.bool("readOnly") == backend.readOnly else {
                let kind = backend.readOnly ? "read-only" : "writable"
                throw fields.error("readOnly", expected: "\(backend.readOnly), as this disk is \(kind)")
            }
            let accepted = Features(rawValue: try fields.hex("features"))
            guard accepted.isSubset(of: features) else {
                throw fields.error("features", expected: "features that this disk offers (0x\(String(features.rawValue, radix: 16)))")
            }
            return (accepted, try fields.bool("writeback"))
        }
        negotiated.store(accepted.rawValue, ordering: .relaxed)
        backend.writeback.store(writeback, ordering: .relaxed)
    }

    /// `{"capacity": true}` takes over the size that the image has now; `{"capacity": BYTES}` a smaller one. The driver is told (5.2.6.2).
    public func controlNotify(_ request: JSONValue) throws(DeviceError) {
        guard case .object(let members) = request, members.count == 1, let wanted = members["capacity"] else {
            throw DeviceError("\(debugLabel) knows only the request {\"capacity\": BYTES or true}.")
        }
        let size: UInt64
        do { size = try backend.image.status().size } catch {
            throw DeviceError("The size of \(debugLabel)'s image cannot be read (\(error)).")
        }
        let bytes: UInt64
        switch wanted {
        case .bool(true): bytes = size
        case .integer(let value) where value >= 0: bytes = UInt64(value)
        default: throw DeviceError("\(debugLabel): capacity is a number of bytes, or true for the size of the image.")
        }
        let block = UInt64(space.blockSize)
        guard bytes > 0, bytes <= size, bytes % block == 0 else {
            throw DeviceError("\(debugLabel): a capacity of \(bytes) bytes is not a multiple of \(block) within the image's \(size) bytes.")
        }
        let sectors = bytes / BlockLimits.sector
        guard backend.capacity.exchange(sectors, ordering: .relaxed) != sectors else { return }
        if let context = workers.context {
            context.interrupt.signalConfigurationChange()
        } else {
            announceCapacity.store(true, ordering: .relaxed)
        }
    }
}
