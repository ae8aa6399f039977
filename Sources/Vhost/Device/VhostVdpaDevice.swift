import GuestMemory
import Host
public import Schema
import Synchronization
public import Virtio
import Virtqueue

/// A virtio device that is a vDPA device of the host's kernel.
///
/// Doorbells and used buffer notifications go between guest and kernel without us: the queue's two eventfds are KVM's and the device's. The
/// device sees the guest's RAM at its guest-physical addresses. Configuration space is read from a copy, which the device's announcements
/// refresh. There is nothing to save of it but where its queues stand.
public final class VhostVdpaDevice: VirtioDevice {
    /// What the driver has set up.
    struct State: ~Copyable, Sendable {
        var features: Features = []
        var interrupt: Interrupt?
        var memory: GuestMemory?
        var queues: [Int: LentQueue] = [:]
        /// The queues of a device that could not go on with them, where they stood.
        var kept: [Int: LentQueue] = [:]
        /// The RAM that the device reaches.
        var mapped: GuestMemory?
        /// The queues as they stood when the device was suspended, until it goes on or is reset.
        var suspended: [Int: LentQueue]?
    }

    /// What no transport of ours passes on, of the bits that concern rings and transports (24–41): the rest is unknown to our rings, or needs
    /// more of a doorbell than an event.
    private static let understood: Features = [
        .indirectDescriptors, .eventIndex, .version1, .ringPacked, Features(bit: 36), /* ORDER_PLATFORM */
    ]

    let vdpa: VhostVdpa
    let profile: VdpaProfile
    let space: VdpaSpace
    private let relay: EventRelay
    let configurationEvent: EventFD
    /// Nobody signals it: waiting for it is waiting.
    let never: EventFD
    let state = Mutex(State())
    /// The device wants addresses that go through its I/O page table, which is what it gets.
    let wantsPlatformAddresses: Bool
    /// What the device offers, less what the profile withholds and what is between the device and us.
    public let features: Features
    /// All queues have the same size.
    public let queueMaxSizes: [UInt16]

    /// Looks at the device, which must be what the profile says.
    /// - Throws: what keeps it from being so.
    public init(_ vdpa: VhostVdpa, _ profile: VdpaProfile) throws(VdpaError) {
        self.vdpa = vdpa
        self.profile = profile
        let type = try vdpa.deviceType()
        guard type == profile.deviceType else {
            throw VdpaError(.refused, "The device is of type \(type); expected \(profile.deviceType).")
        }
        try vdpa.reset()
        try vdpa.addStatus([.acknowledge, .driver])
        let offered = try vdpa.features()
        guard offered.contains(.version1) else {
            throw VdpaError(.refused, "The device does not offer VIRTIO_F_VERSION_1, and legacy devices are not driven.")
        }
        wantsPlatformAddresses = offered.contains(.accessPlatform)
        var transportBits: Features = []
        for bit in UInt8(24)...41 { transportBits.insert(Features(bit: bit)) }
        var features = offered.subtracting(profile.withheld).subtracting(transportBits.subtracting(Self.understood))
        // A packed queue that can only be stopped by a reset tells nobody where it stood, unless it has nothing left to do.
        if !vdpa.backendFeatures.contains(.suspend), !profile.drains { features.remove(.ringPacked) }
        self.features = features
        let wanted = profile.queueCount ?? 1
        let found = try vdpa.queueCount() ?? wanted
        guard found >= wanted else { throw VdpaError(.refused, "The device has \(found) queues; expected at least \(wanted).") }
        let size = min(profile.queueSize, try vdpa.largestQueueSize())
        guard RingFormat.split.allows(size: size) else {
            throw VdpaError(.refused, "The device's queues have at most \(size) entries; expected a power of two.")
        }
        queueMaxSizes = Array(repeating: size, count: profile.queueCount ?? found)
        let space = try VdpaSpace(vdpa)
        self.space = space
        do throws(SystemError) {
            let call = try EventFD()
            configurationEvent = call
            never = try EventFD()
            relay = try EventRelay([call], name: "\(profile.label)-config") { _ in space.changed() }
            try relay.setWatching(true)
        } catch {
            throw VdpaError(error)
        }
    }

    // MARK: What it is

    /// The kind of device.
    public var deviceType: DeviceType { profile.deviceType }
    /// A short name.
    public var debugLabel: String { profile.label }
    /// Nothing: this is the process that the guest's RAM belongs to.
    public var keepDescriptors: [Int32] { [] }

    /// Copies configuration space; waits for nobody.
    public func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) { space.copy.read(at: offset, into: &bytes) }

    // MARK: Its life

    /// Remembers what was negotiated; the device learns of it with the activation.
    public func acknowledge(_ features: Features) {
        state.withLock { state in if state.interrupt == nil { state.features = features } }
    }

    /// Tells the device what was negotiated, where RAM is, and of every queue.
    public func activate(_ activation: consuming Activation) throws(DeviceError) {
        do throws(DeviceError) { try begin(activation) } catch {
            state.withLock { $0.kept = [:] }
            throw error
        }
    }

    private func begin(_ activation: consuming Activation) throws(DeviceError) {
        var activation = activation
        var queues: [Int: LentQueue] = [:]
        for index in 0..<activation.queues.count {
            if let queue = activation.queues.take(index) { queues[index] = LentQueue(queue) }
        }
        let (features, memory, interrupt) = (activation.features, activation.memory, activation.interrupt)
        try perform { (state) throws(VdpaError) in
            (state.features, state.memory, state.interrupt, state.queues) = (features, memory, interrupt, queues)
            state.kept = [:]
            do throws(VdpaError) { try start(&state) } catch {
                // It must not go on with a part of them. None has moved: DRIVER_OK comes last.
                try? vdpa.reset()
                (state.interrupt, state.queues, state.suspended) = (nil, [:], nil)
                state.kept = queues
                throw error
            }
        }
        space.announcements.go(to: interrupt)
        // What it said while nobody was told.
        space.changed()
    }

    /// Stops all queues and lets the device forget its driver.
    public func reset() throws(DeviceError) {
        space.announcements.go(to: nil)
        try perform { (state) throws(VdpaError) in
            (state.interrupt, state.queues, state.kept, state.suspended) = (nil, [:], [:], nil)
            try vdpa.reset()
        }
    }

    /// Not for a single queue: a vDPA device can only be stopped as a whole.
    public func stopQueue(_ index: Int) throws(DeviceError) -> ActiveQueue? {
        try state.withLock { state throws(DeviceError) in
            guard state.queues[index] != nil else { return nil }
            throw DeviceError("\(profile.label): queue \(index) cannot be stopped while the others go on.")
        }
    }

    /// Not for a single queue.
    public func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) {
        throw DeviceError("\(profile.label): queue \(queue.index) cannot be started while the others go on.")
    }

    /// Stops all queues and gives them back. When they cannot be stopped, the device goes on.
    public func sleep() throws(DeviceError) -> QueueSet? {
        let queues = try perform { (state) throws(VdpaError) -> QueueSet? in
            if let memory = state.memory, !state.kept.isEmpty {
                var queues = QueueSet(count: queueMaxSizes.count)
                for (index, queue) in state.kept { queues.put(try queue.returned(index, state.features, memory)) }
                state.kept = [:]
                return queues
            }
            guard state.interrupt != nil, let memory = state.memory else { return nil }
            var stopped: [Int: LentQueue]
            if vdpa.backendFeatures.contains(.suspend) {
                stopped = try suspend(state, memory)
                state.suspended = stopped
            } else {
                stopped = try drain(state, memory)
            }
            var queues = QueueSet(count: queueMaxSizes.count)
            for (index, queue) in stopped { queues.put(try queue.returned(index, state.features, memory)) }
            (state.interrupt, state.queues) = (nil, [:])
            return queues
        }
        if queues != nil { space.announcements.go(to: nil) }
        return queues
    }

    /// Goes on where `sleep` stopped. After an error `sleep` gives the queues back.
    public func wake(_ activation: consuming Activation?) throws(DeviceError) {
        if let activation { try begin(activation) }
    }

    /// Nothing: what a driver can set is all in its queues.
    public func snapshot() throws(DeviceError) -> JSONValue { [:] }

    /// Nothing to take over.
    public func restore(_ state: SavedValue) throws(StateError) { try state.expectEmpty() }

    private func perform<Result: ~Copyable & Sendable>(
        _ body: (inout State) throws(VdpaError) -> Result
    ) throws(DeviceError) -> Result {
        do throws(VdpaError) {
            return try state.withLock { (state) throws(VdpaError) -> Result in try body(&state) }
        } catch {
            throw DeviceError("\(profile.label): \(error)")
        }
    }
}
