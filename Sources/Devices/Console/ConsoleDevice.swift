import Host
public import Schema
import Synchronization
public import Virtio

/// What a console is made from, but for its back-end.
public struct ConsoleConfiguration: Sendable, Equatable {
    /// A short name for log lines and threads.
    public var label: String
    /// Whether packed rings are offered.
    public var packedRing: Bool

    /// A configuration.
    public init(label: String, packedRing: Bool = false) {
        self.label = label
        self.packedRing = packedRing
    }
}

/// A console (virtio 1.3, 5.3) with one port and a size.
public final class ConsoleDevice: VirtioDevice {
    /// Entries of each queue.
    public static let queueSize: UInt16 = 128

    private struct Size: Equatable {
        var columns: UInt16 = 0
        var rows: UInt16 = 0

        init() {}

        init(_ fields: inout StateFields) throws(StateError) {
            columns = try fields.integer("columns")
            rows = try fields.integer("rows")
        }
    }

    private let workers: DeviceWorkers<AsyncWorkload<ConsoleService>>
    private let size = Mutex(Size())
    private let listener = ConsoleListener()
    let counterBlock = ConsoleCounters()

    /// A short name for log lines and threads.
    public let debugLabel: String
    /// What is on offer: a size, beside what all devices offer.
    public let features: Features
    /// Descriptors that must survive into the device's own process.
    public let keepDescriptors: [Int32]

    /// A console on `backend`.
    public init(_ configuration: ConsoleConfiguration, backend: consuming CharacterBackend) throws(DeviceError) {
        debugLabel = configuration.label
        features = configuration.packedRing ? [.ours, .ringPacked, .consoleSize] : [.ours, .consoleSize]
        keepDescriptors = backend.descriptors
        do {
            let loop = try EventLoop()
            let service = ConsoleService(backend, listener, counterBlock, on: loop)
            let workload = AsyncWorkload(service, queueCount: 2, on: loop)
            workers = DeviceWorkers(label: configuration.label, workload: workload, queueCount: 2)
        } catch {
            throw DeviceError("\(configuration.label) cannot be made (\(error)).")
        }
    }

    /// A console (5.3).
    public var deviceType: DeviceType { .console }
    /// receiveq and transmitq of port 0 (5.3.2).
    public var queueMaxSizes: [UInt16] { [Self.queueSize, Self.queueSize] }

    /// cols and rows, 16 bits each (5.3.4); what belongs to features that are not on offer reads as zero.
    public func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        let size = size.withLock { $0 }
        let fields = [size.columns, size.rows].flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
        for index in bytes.indices {
            let (position, overflow) = offset.addingReportingOverflow(index)
            bytes[index] = !overflow && fields.indices.contains(position) ? fields[position] : 0
        }
    }

    /// Takes `{"columns": …, "rows": …}` (0…65535) and tells the driver.
    public func controlNotify(_ request: JSONValue) throws(DeviceError) {
        let new: Size
        do throws(StateError) {
            new = try SavedValue(request).read { (fields) throws(StateError) in try Size(&fields) }
        } catch {
            throw DeviceError("\(debugLabel) cannot take this size: \(error)")
        }
        let isNew = size.withLock { size in
            let isNew = size != new
            size = new
            return isNew
        }
        if isNew { workers.context?.interrupt.signalConfigurationChange() }
    }

    /// Starts the worker.
    public func activate(_ activation: consuming Activation) throws(DeviceError) { try workers.activate(activation) }
    /// Stops the worker and drops the queues.
    public func reset() {
        workers.reset()
        listener.set(false)
    }
    /// Stops a queue.
    public func stopQueue(_ index: Int) throws(DeviceError) -> ActiveQueue? { try workers.stopQueue(index) }
    /// Starts a queue.
    public func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) { try workers.startQueue(queue) }
    /// Stops the worker; buffers that wait for input stay in their queue.
    public func sleep() -> QueueSet? { workers.sleep() }
    /// Goes on.
    public func wake(_ activation: consuming Activation?) throws(DeviceError) { try workers.wake(activation) }

    /// The console's size, and whether the driver has written anything yet: before that it may not be listening.
    public func snapshot() -> JSONValue {
        let size = size.withLock { $0 }
        return [
            "columns": .integer(Int64(size.columns)), "rows": .integer(Int64(size.rows)), "driverHasWritten": .bool(listener.hasSpoken),
        ]
    }

    /// Takes a saved state over.
    public func restore(_ state: SavedValue) throws(StateError) {
        let (saved, hasSpoken) = try state.read { (fields) throws(StateError) in
            (try Size(&fields), try fields.bool("driverHasWritten"))
        }
        listener.set(hasSpoken)
        size.withLock { $0 = saved }
    }
}

extension Features {
    /// VIRTIO_CONSOLE_F_SIZE (virtio 1.3, 5.3.3): columns and rows are in configuration space.
    static let consoleSize = Features(bit: 0)
}
