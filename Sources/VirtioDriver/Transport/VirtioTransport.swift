public import Host
public import Virtio
public import Virtqueue

/// A way from a driver on the host to a virtio device: it negotiates, shows the device memory, sets queues up and carries notifications.
///
/// What it does with a device, in this order: negotiation when the transport is made, memory, queues (once, until `reset`), requests. The
/// methods may be called from any thread; notifiers and events belong to whoever has the queue.
public protocol VirtioTransport: AnyObject, Sendable {
    /// The kind of device; nil where the interface does not tell.
    var deviceType: DeviceType? { get }
    /// What was negotiated, when the transport was made.
    var features: Features { get }
    /// The number of queues; nil where the interface does not tell, and the device's configuration space has to.
    var maxQueues: Int? { get }
    /// How many regions of memory the device can be shown at the same time, that of the queues included; nil is any number.
    var maxMemoryRegions: Int? { get }
    /// What addresses and sizes of regions are a multiple of, in bytes.
    var memoryRegionAlignment: Int { get }
    /// The largest size of a queue; nil where the interface does not tell.
    func maxQueueSize(_ queue: Int) throws(DriverError) -> UInt16?

    /// Makes the memory that all queues lie in, and shows it to the device; its address there. Once, until `reset`.
    func allocateQueueMemory(_ byteCount: Int) throws(DriverError) -> (memory: SharedMemory, iova: UInt64)
    /// Shows the device memory; the address under which it finds it.
    func map(_ memory: SharedMemory) throws(DriverError) -> UInt64
    /// Takes memory away from the device. No request that uses it may be in flight: the device would find nothing there.
    func unmap(_ memory: SharedMemory) throws(DriverError)
    /// A look-up of the device's addresses, for one thread.
    func makeTranslator() -> IOVATranslator

    /// Gives the device its queues, of which the first has index 0 and all addresses are the device's, and starts it (DRIVER_OK). Once, until
    /// `reset`.
    func setUpQueues(_ queues: [QueueConfiguration]) throws(DriverError)
    /// What tells the device of buffers in a queue that was set up.
    func submissionNotifier(_ queue: Int) throws(DriverError) -> SubmissionNotifier
    /// Readable after a used buffer notification of a queue that was set up. Who waits for it drains it *before* he looks at the queue.
    func completionEvent(_ queue: Int) throws(DriverError) -> EventFD

    /// Reads `count` bytes of configuration space from `offset` on, all of the same generation.
    func readConfiguration(at offset: Int, count: Int) throws(DriverError) -> [UInt8]
    /// Writes to configuration space.
    func writeConfiguration(_ bytes: [UInt8], at offset: Int) throws(DriverError)
    /// Readable after a configuration change notification, and when the device's state may have changed: drain it, then `checkDevice`.
    var changeEvent: EventFD { get }
    /// A descriptor that hangs up when the device goes; nil where `changeEvent` tells that as well.
    var hangupDescriptor: Int32? { get }
    /// Throws `.needsReset` or `.gone` once the device is of no use any more.
    func checkDevice() throws(DriverError)

    /// Stops the device: what was in flight will not be touched any more, and nothing of it was answered. Queues and their memory are gone;
    /// other memory stays, and queues can be set up again.
    func reset() throws(DriverError)
}

/// Tells a device that there are buffers for it in one queue.
public struct SubmissionNotifier: Sendable {
    private let kick: EventFD

    init(_ kick: EventFD) { self.kick = kick }

    /// Sends an available buffer notification.
    public func notify() { kick.signal() }
}

/// A layout of configuration space, or the beginning of one, for `configuration(as:)`.
public protocol ConfigurationLayout {
    /// Its size in bytes.
    static var byteCount: Int { get }
    /// Takes the fields out of as many bytes; all are little-endian (virtio 1.3, 2.5.3).
    init(_ fields: borrowing ConfigurationFields)
}

/// Bytes of configuration space, by offset.
public struct ConfigurationFields: ~Copyable {
    private let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// A little-endian field; what lies beyond the bytes that were read counts as zero.
    public func integer<T: FixedWidthInteger>(at offset: Int, as type: T.Type = T.self) -> T {
        var value: T = 0
        for index in 0..<MemoryLayout<T>.size where bytes.indices.contains(offset + index) {
            value |= T(truncatingIfNeeded: bytes[offset + index]) << T(8 * index)
        }
        return value
    }
}

extension VirtioTransport {
    /// Configuration space as typed values.
    public func configuration<Layout: ConfigurationLayout>(as type: Layout.Type = Layout.self) throws(DriverError) -> Layout {
        Layout(ConfigurationFields(try readConfiguration(at: 0, count: Layout.byteCount)))
    }
}
