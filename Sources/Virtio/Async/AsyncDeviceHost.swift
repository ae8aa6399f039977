import Host
public import Schema
import Synchronization

/// What a driver learns of a device before it is activated.
public struct DeviceProfile: Sendable {
    /// The kind of device.
    public var type: DeviceType
    /// A short name for log lines and threads.
    public var label: String
    /// The largest size of each queue, 1…32768.
    public var queueMaxSizes: [UInt16]
    /// What is on offer. Negotiation of rings is the runtime's.
    public var features: Features
    /// The configuration space (virtio 1.3, 2.5), read-only for the driver.
    public var configuration: [UInt8]

    /// A device with both ring formats and nothing of its own; change what else is wanted.
    public init(_ type: DeviceType, label: String, queueMaxSizes: [UInt16]) {
        self.type = type
        self.label = label
        self.queueMaxSizes = queueMaxSizes
        features = [.ours, .ringPacked]
        configuration = []
    }
}

/// Makes a `VirtioDevice` of an `AsyncDevice`, to be plugged in anywhere. For devices that have no state of their own to save; others conform to
/// `VirtioDevice` themselves and use `DeviceWorkers` with an `AsyncWorkload`.
public final class AsyncDeviceHost<Device: AsyncDevice & ~Copyable>: VirtioDevice {
    private let profile: DeviceProfile
    private let workers: DeviceWorkers<AsyncWorkload<Device>>
    private let configuration: Mutex<[UInt8]>
    /// Descriptors that must survive into the device's own process.
    public let keepDescriptors: [Int32]

    /// A host for `device`, which uses `keepDescriptors`.
    public init(_ profile: DeviceProfile, _ device: consuming Device, keepDescriptors: [Int32] = []) throws(DeviceError) {
        self.profile = profile
        self.keepDescriptors = keepDescriptors
        configuration = Mutex(profile.configuration)
        do {
            let workload = try AsyncWorkload(device, queueCount: profile.queueMaxSizes.count)
            workers = DeviceWorkers(label: profile.label, workload: workload, queueCount: profile.queueMaxSizes.count)
        } catch {
            throw DeviceError("\(profile.label) cannot be made (\(error)).")
        }
    }

    /// As the profile says.
    public var deviceType: DeviceType { profile.type }
    /// As the profile says.
    public var debugLabel: String { profile.label }
    /// As the profile says.
    public var queueMaxSizes: [UInt16] { profile.queueMaxSizes }
    /// As the profile says.
    public var features: Features { profile.features }

    /// The configuration space; zeros behind it.
    public func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        let space = configuration.withLock { $0 }
        for index in bytes.indices {
            let (position, overflow) = offset.addingReportingOverflow(index)
            bytes[index] = !overflow && space.indices.contains(position) ? space[position] : 0
        }
    }

    /// Replaces the configuration space, and tells the driver if there is one.
    public func setConfiguration(_ bytes: [UInt8]) {
        configuration.withLock { $0 = bytes }
        workers.context?.interrupt.signalConfigurationChange()
    }

    /// Starts the device's function.
    public func activate(_ activation: consuming Activation) throws(DeviceError) { try workers.activate(activation) }
    /// Stops it and drops the queues.
    public func reset() { workers.reset() }
    /// Stops a queue; the function is called anew with those that remain.
    public func stopQueue(_ index: Int) throws(DeviceError) -> ActiveQueue? { try workers.stopQueue(index) }
    /// Starts a queue; the function is called anew with all queues.
    public func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) { try workers.startQueue(queue) }
    /// Stops the device's function; what it has not served stays in the queues.
    public func sleep() -> QueueSet? { workers.sleep() }
    /// Goes on.
    public func wake(_ activation: consuming Activation?) throws(DeviceError) { try workers.wake(activation) }
    /// There is nothing to keep.
    public func snapshot() -> JSONValue { [:] }
    /// Checks that there was nothing to keep.
    public func restore(_ state: SavedValue) throws(StateError) { try state.expectEmpty() }
}
