import GuestMemory
public import Host
public import Schema
import Synchronization
public import Virtio
import Virtqueue

/// A virtio device whose data path is a vhost-user back-end in another process: ours in its jail, or anybody's.
///
/// Doorbells and used buffer notifications go between the guest and the back-end without us. Configuration space is read from a copy, which
/// the back-end's announcements refresh. When the back-end fails or leaves, whatever the driver
/// asks for next fails.
public final class VhostUserFrontend: VirtioDevice {
    /// What of the protocol we use where the back-end has it.
    static let wanted: ProtocolFeatures = [
        .multiQueue, .replyAck, .backendRequests, .configuration, .resetDevice, .memorySlots, .status,
    ]

    /// Queues, as the back-end has them.
    struct State: ~Copyable {
        /// The queues that run, with what is needed to make them anew.
        var running: [Int: RunningQueue] = [:]
        var interrupt: Interrupt?
        var features: Features = []
        /// The RAM that the back-end knows.
        var memory: GuestMemory?
        var isActive = false
    }

    let profile: FrontendProfile
    let connection: BackEndConnection
    let protocolFeatures: ProtocolFeatures
    let hasProtocolFeatures: Bool
    private let requests: BackEndRequests?
    private let space: ConfigurationCopy
    let state = Mutex(State())
    /// The features that the back-end offers, less what the profile withholds, and what it adds.
    public let features: Features
    private let backEndFeatures: Features

    /// Greets the back-end at the other end of `socket`.
    ///
    /// - Throws: what keeps it from being the device that the profile describes.
    public init(_ socket: consuming OwnedDescriptor, _ profile: FrontendProfile) throws(VhostUserError) {
        let slot = Slot(socket)
        let connection = try hosted("use the connection") { () throws(SystemError) in
            guard let socket = slot.take() else { throw SystemError("connection", .invalidArgument) }
            return try BackEndConnection(socket, patience: profile.patience)
        }
        self.profile = profile
        self.connection = connection
        let greeting = try Greeting(connection, profile)
        backEndFeatures = greeting.features
        features = greeting.features.union(profile.added)
        protocolFeatures = greeting.protocolFeatures
        hasProtocolFeatures = greeting.hasProtocolFeatures
        let space = ConfigurationCopy(
            size: greeting.protocolFeatures.contains(.configuration) ? profile.configurationSize : 0, overlay: profile.configuration)
        self.space = space
        try space.refresh(from: connection)
        let knowsStatus = greeting.protocolFeatures.contains(.status)
        requests = try greeting.openChannel(connection, label: profile.label) {
            space.refreshAndAnnounce(from: connection, knowsStatus: knowsStatus)
        }
    }

    deinit { requests?.stop() }

    // MARK: What it is

    /// The kind of device.
    public var deviceType: DeviceType { profile.deviceType }
    /// A short name.
    public var debugLabel: String { profile.label }
    /// All queues have the size of the profile.
    public var queueMaxSizes: [UInt16] { Array(repeating: profile.queueSize, count: profile.queueCount) }
    /// Nothing: this is the process that the guest's RAM belongs to.
    public var keepDescriptors: [Int32] { [] }

    /// Copies configuration space; waits for nobody.
    public func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) { space.read(at: offset, into: &bytes) }

    /// Passes a write on, and reads what became of it.
    public func writeConfiguration(at offset: Int, from bytes: Span<UInt8>) {
        guard protocolFeatures.contains(.configuration), let start = UInt32(exactly: offset) else { return }
        var copy: [UInt8] = []
        for index in bytes.indices { copy.append(bytes[index]) }
        try? connection.send(.setConfiguration(ConfigurationAccess(offset: start, bytes: copy)))
        try? space.refresh(from: connection)
    }

    // MARK: Its life

    /// Tells the back-end what was negotiated, where RAM is, and of every queue.
    public func activate(_ activation: consuming Activation) throws(DeviceError) {
        let (memory, interrupt, features) = (activation.memory, activation.interrupt, activation.features)
        var activation = activation
        space.announce(to: interrupt)
        try reporting { () throws(VhostUserError) in
            try state.withLock { (state) throws(VhostUserError) in
                try connection.send(
                    .setFeatures(
                        features.intersection(backEndFeatures).rawValue | (hasProtocolFeatures ? ProtocolFeatures.announcement : 0)))
                try share(memory, &state)
                (state.features, state.interrupt, state.isActive) = (features, interrupt, true)
                for index in 0..<activation.queues.count {
                    if let queue = activation.queues.take(index) { try start(queue, &state) }
                }
                if protocolFeatures.contains(.status) {
                    let status: DeviceStatus = [.acknowledge, .driver, .featuresOK, .driverOK]
                    try connection.send(.setStatus(UInt64(status.rawValue)))
                }
            }
        }
    }

    /// Stops all queues and lets the back-end forget its driver.
    public func reset() throws(DeviceError) {
        space.announce(to: nil)
        try reporting { () throws(VhostUserError) in
            try state.withLock { (state) throws(VhostUserError) in
                guard state.isActive else { return }
                for index in state.running.keys.sorted() { _ = try stop(index, &state) }
                if protocolFeatures.contains(.status) {
                    try connection.send(.setStatus(0))
                } else if protocolFeatures.contains(.resetDevice) {
                    try connection.send(.resetDevice)
                }
                (state.interrupt, state.isActive) = (nil, false)
            }
        }
    }

    /// Stops one queue and gives it back.
    public func stopQueue(_ index: Int) throws(DeviceError) -> ActiveQueue? {
        try reporting { () throws(VhostUserError) in
            try state.withLock { (state) throws(VhostUserError) in try stop(index, &state) }
        }
    }

    /// Starts one queue.
    public func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) {
        var incoming: ActiveQueue? = queue
        try reporting { () throws(VhostUserError) in
            try state.withLock { (state) throws(VhostUserError) in
                if let queue = incoming.take() { try start(queue, &state) }
            }
        }
    }

    /// Stops all queues and gives them back.
    public func sleep() throws(DeviceError) -> QueueSet? {
        try reporting { () throws(VhostUserError) in
            try state.withLock { (state) throws(VhostUserError) -> QueueSet? in
                guard state.isActive else { return nil }
                var queues = QueueSet(count: profile.queueCount)
                for index in state.running.keys.sorted() {
                    if let queue = try stop(index, &state) { queues.put(queue) }
                }
                state.isActive = false
                return queues
            }
        }
    }

    /// Goes on where `sleep` stopped.
    public func wake(_ activation: consuming Activation?) throws(DeviceError) {
        if let activation { try activate(activation) }
    }

    /// The state of the back-end.
    public func snapshot() throws(DeviceError) -> JSONValue {
        guard profile.isStateless else {
            throw DeviceError("\(profile.label): its back-end cannot save its state (VHOST_USER_PROTOCOL_F_DEVICE_STATE).")
        }
        return [:]
    }

    /// Takes over a saved state.
    public func restore(_ state: SavedValue) throws(StateError) { try state.expectEmpty() }

    private func reporting<Result: ~Copyable>(_ body: () throws(VhostUserError) -> Result) throws(DeviceError) -> Result {
        do { return try body() } catch { throw DeviceError("\(profile.label): \(error)") }
    }
}
