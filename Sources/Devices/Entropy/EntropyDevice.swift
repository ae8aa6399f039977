import Host
public import Schema
public import Virtio

/// What an entropy device is made of.
public struct EntropyConfiguration: Sendable {
    /// The name for log lines and threads: the device's id.
    public var label: String
    /// The most bytes that the guest gets per second, at least 1; nil is without limit.
    public var bytesPerSecond: UInt64?
    /// Whether packed rings are offered.
    public var packedRing = false
    /// The transport that the configuration asks for.
    public var transport: TransportKind?

    /// A device without limit; change what else is wanted.
    public init(label: String) { self.label = label }
}

/// A virtio entropy device (virtio 1.3, 5.4) that hands out what getrandom(2) gives.
public final class EntropyDevice: VirtioDevice {
    /// Entries of the queue.
    public static let queueSize: UInt16 = 64
    private let workers: DeviceWorkers<AsyncWorkload<EntropyService>>
    let counterBlock = EntropyCounters()

    /// The device's id.
    public let debugLabel: String
    /// One request queue.
    public let queueMaxSizes: [UInt16]
    /// Nothing of its own (5.4.3).
    public let features: Features
    /// As the configuration says.
    public let preferredTransport: TransportKind?

    /// Makes the device, with the event loop of its worker.
    public init(_ configuration: EntropyConfiguration) throws(DeviceError) {
        debugLabel = configuration.label
        queueMaxSizes = [Self.queueSize]
        features = configuration.packedRing ? [.ours, .ringPacked] : .ours
        preferredTransport = configuration.transport
        do {
            let service = EntropyService(bytesPerSecond: configuration.bytesPerSecond, counters: counterBlock)
            workers = DeviceWorkers(label: configuration.label, workload: try AsyncWorkload(service, queueCount: 1), queueCount: 1)
        } catch {
            throw DeviceError("\(configuration.label) cannot be made (\(error)).")
        }
    }

    /// An entropy device (5.4).
    public var deviceType: DeviceType { .entropy }
    /// None: getrandom needs no descriptor.
    public var keepDescriptors: [Int32] { [] }
    /// There is no configuration space (5.4.4).
    public func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        for index in bytes.indices { bytes[index] = 0 }
    }

    /// Starts the worker.
    public func activate(_ activation: consuming Activation) throws(DeviceError) { try workers.activate(activation) }
    /// Stops the worker and drops the queue.
    public func reset() { workers.reset() }
    /// Stops the queue.
    public func stopQueue(_ index: Int) throws(DeviceError) -> ActiveQueue? { try workers.stopQueue(index) }
    /// Starts the queue.
    public func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) { try workers.startQueue(queue) }
    /// Stops the worker; a request that waits for the rate limit stays in the queue.
    public func sleep() -> QueueSet? { workers.sleep() }
    /// Goes on.
    public func wake(_ activation: consuming Activation?) throws(DeviceError) { try workers.wake(activation) }
    /// There is nothing to keep.
    public func snapshot() -> JSONValue { [:] }
    /// Checks that there was nothing to keep.
    public func restore(_ state: SavedValue) throws(StateError) { try state.expectEmpty() }
}
