public import GuestMemory
public import Schema

/// What a device gets when its driver is ready, or when it wakes: everything it needs to process queues, and nothing else.
public struct Activation: ~Copyable, Sendable {
    /// Guest RAM, in which rings and buffers lie.
    public let memory: GuestMemory
    /// The way back to the driver.
    public let interrupt: Interrupt
    /// What was negotiated.
    public let features: Features
    /// The queues that the driver enabled.
    public var queues: QueueSet

    /// Puts the parts together.
    public init(memory: GuestMemory, interrupt: Interrupt, features: Features, queues: consuming QueueSet) {
        self.memory = memory
        self.interrupt = interrupt
        self.features = features
        self.queues = queues
    }
}

/// A device could not do what its host asked of it.
public struct DeviceError: Error, Sendable, CustomStringConvertible {
    /// One sentence for a person.
    public let description: String
    /// Wraps a sentence.
    public init(_ description: String) { self.description = description }
}

/// A virtio device: what it offers, and what it does with its queues. It does not know which transport or process hosts it.
///
/// Its host keeps the `Lifecycle` and calls the hooks only in the order that the lifecycle allows, one at a time; configuration reads
/// may come from any thread at any time. Hooks must return soon: a vCPU waits for them.
public protocol VirtioDevice: AnyObject, Sendable {
    /// The kind of device.
    var deviceType: DeviceType { get }
    /// A short name for log lines and thread names.
    var debugLabel: String { get }
    /// The largest size of each queue; the count is the number of queues. Sizes are 1…32768 (virtio 1.3, 2.6).
    var queueMaxSizes: [UInt16] { get }
    /// How many of the queues, from the first on, carry data. Those behind belong to the device's personality, which a vhost-user front-end
    /// has itself: its back-end shows none of them.
    var dataQueueCount: Int { get }
    /// What of `features` a vhost-user front-end offers by itself, whatever its back-end is.
    var frontEndFeatures: Features { get }
    /// How many queue interrupts the device can tell apart; by default one per queue.
    var interruptCount: Int { get }
    /// The feature bits on offer, `Features.ours` and the device's own.
    var features: Features { get }
    /// Which of two address spaces the device is announced in, when the configuration does not say; nil leaves it to the machine.
    var preferredTransport: TransportKind? { get }
    /// Position in the firmware's boot order; nil when the device cannot be booted from.
    var bootOrder: UInt? { get }
    /// Descriptors that must survive into the device's own process.
    var keepDescriptors: [Int32] { get }
    /// A region of memory shared with the driver (virtio 1.3, 2.10), and how it wants to be mapped; nil when there is none.
    var sharedMemory: SharedMemoryRequest? { get }
    /// What the device has done since it was made, by name: for its owner, not for the driver. Read from any thread at any time; each
    /// number only grows, also through resets and sleep. It is no part of a snapshot.
    var counters: [String: UInt64] { get }

    /// Takes note of the negotiated features: once, when the driver has set FEATURES_OK and the host has accepted the set.
    func acknowledge(_ features: Features)
    /// Copies configuration space from `offset` (virtio 1.3, 2.5); bytes beyond its end read as zero.
    func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>)
    /// Takes a write of the driver to configuration space; writes to read-only fields or beyond the end do nothing.
    func writeConfiguration(at offset: Int, from bytes: Span<UInt8>)

    /// Starts processing. new or inactive → active.
    func activate(_ activation: consuming Activation) throws(DeviceError)
    /// Stops processing, drains or abandons what is in flight, and drops the queues. active → inactive.
    func reset() throws(DeviceError)
    /// Stops one queue and gives it back; nil when it was not running (virtio 1.3, 2.6.1, queue reset).
    func stopQueue(_ index: Int) throws(DeviceError) -> ActiveQueue?
    /// Starts one queue of an active device.
    func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError)

    /// Stops processing, drains what is in flight and gives all queues back; nil when the device is not active.
    func sleep() throws(DeviceError) -> QueueSet?
    /// Goes on after `sleep` or `restore`: with the queues if the device was active, with nil if not. Looks at every queue once.
    func wake(_ activation: consuming Activation?) throws(DeviceError)
    /// The device's own state (queues are the host's), asleep only. Names and numbers that a person can read.
    func snapshot() throws(DeviceError) -> JSONValue
    /// Takes over a saved state; only while asleep and new. What is missing, mistyped, out of range or unknown is an error with its place
    /// in the document, and so is a state that belongs to something else or that the device's host side refuses.
    func restore(_ state: SavedValue) throws(StateError)

    /// The first call inside the device's own process, after the jail has closed; in process it comes before `activate`.
    func onDeviceSandboxed()
    /// A request from the control side, such as a new console size or disk capacity.
    func controlNotify(_ request: JSONValue) throws(DeviceError)
    /// Receives the mapper through which shared memory is shown to the guest.
    func setSharedMemoryMapper(_ mapper: any SharedMemoryMapper)
}

/// How devices are shown to the guest.
public enum TransportKind: String, Sendable, CaseIterable {
    /// virtio over PCI (virtio 1.3, 4.1).
    case pci
    /// virtio over MMIO (virtio 1.3, 4.2).
    case mmio
}

/// A device's wish for a shared memory region (virtio 1.3, 2.10).
public struct SharedMemoryRequest: Sendable, Equatable {
    /// How the region is prepared before anything is mapped into it.
    public enum Preparation: Sendable, Equatable {
        /// Nothing is mapped until the device asks.
        case dynamic
        /// The whole region is one mapping from the start.
        case single
    }
    /// The region's id (0…255).
    public let id: UInt8
    /// Size in bytes, a multiple of 4096.
    public let size: UInt64
    /// How it is prepared.
    public let preparation: Preparation

    /// A wish for `size` bytes under `id`.
    public init(id: UInt8, size: UInt64, preparation: Preparation) {
        self.id = id
        self.size = size
        self.preparation = preparation
    }
}

/// Maps parts of a descriptor into a device's shared memory region.
public protocol SharedMemoryMapper: AnyObject, Sendable {
    /// Maps `count` bytes of `descriptor` from `descriptorOffset` at `offset` of the region; multiples of 4096.
    func map(_ descriptor: Int32, descriptorOffset: UInt64, at offset: UInt64, count: UInt64, writable: Bool) throws(DeviceError)
    /// Removes a mapping made by `map`.
    func unmap(at offset: UInt64, count: UInt64) throws(DeviceError)
}

extension VirtioDevice {
    /// All of them.
    public var dataQueueCount: Int { queueMaxSizes.count }
    /// None.
    public var frontEndFeatures: Features { [] }
    /// One interrupt per queue.
    public var interruptCount: Int { queueMaxSizes.count }
    /// No preference.
    public var preferredTransport: TransportKind? { nil }
    /// Not bootable.
    public var bootOrder: UInt? { nil }
    /// None.
    public var sharedMemory: SharedMemoryRequest? { nil }
    /// Nothing is counted.
    public var counters: [String: UInt64] { [:] }
    /// Nothing to remember.
    public func acknowledge(_ features: Features) {}
    /// No writable field.
    public func writeConfiguration(at offset: Int, from bytes: Span<UInt8>) {}
    /// Nothing to do.
    public func onDeviceSandboxed() {}
    /// No request is known.
    public func controlNotify(_ request: JSONValue) throws(DeviceError) { throw DeviceError("\(debugLabel) takes no control requests.") }
    /// No shared memory, so no mapper is needed.
    public func setSharedMemoryMapper(_ mapper: any SharedMemoryMapper) {}
}
