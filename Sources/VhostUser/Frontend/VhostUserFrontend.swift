import GuestMemory
public import Host
import Schema
import Synchronization
public import Virtio
import Virtqueue

/// A virtio device whose data path is a vhost-user back-end in another process: ours in its jail, or anybody's.
///
/// Doorbells and used buffer notifications go between the guest and the back-end without us. Configuration space is read from a copy, which
/// the back-end's announcements refresh. What the driver has set up is kept here, so that a new back-end can take the place of one that has
/// ended (`recover`).
public final class VhostUserFrontend: VirtioDevice {
    /// What of the protocol we use where the back-end has it.
    package static let wanted: ProtocolFeatures = [
        .multiQueue, .replyAck, .backendRequests, .configuration, .inFlight, .resetDevice, .status, .deviceState, .control,
        .logMemory,
    ]

    /// What the driver has set up, and how much of it the back-end knows.
    struct State: ~Copyable, Sendable {
        /// What was negotiated; nil before.
        var features: Features?
        var interrupt: Interrupt?
        var memory: GuestMemory?
        var isActive = false
        /// The queues that run, or shall run as soon as there is a back-end, with what is needed to make them anew.
        var running: [Int: LentQueue] = [:]
        /// What the driver has written to configuration space.
        var written: [Int: UInt8] = [:]
        /// The last request of the control side.
        var control: [UInt8]?
        /// A state that was saved or loaded, until the device is active.
        var saved: [UInt8]?
        /// Where requests in flight are noted.
        var inFlight: InFlightFile?
        /// The queues that are not in use, whether they run or not.
        var resting: Set<Int> = []
        /// The running queues that a back-end had and has not given back: where they stand is known to the ring, and to the notes about
        /// requests in flight, but not here.
        var lost: Set<Int> = []
        /// A wake has failed: the driver's machine sleeps on, and no ring may run before it is asked again.
        var isStalled = false
        var progress = Progress()
        /// Signalled, and replaced, when another back-end has taken over or nobody will.
        var change: EventFD
    }

    /// How much a back-end knows.
    struct Progress: Sendable {
        /// The word that it got.
        var features: UInt64?
        var memory: GuestMemory?
        /// The RAM whose log it has.
        var logged: GuestMemory?
        var hasInFlight = false
        var started: Set<Int> = []
        var isReady = false
        /// The back-end has left, and nothing keeps another one from taking its place: the driver's later requests change nothing about that.
        var isReplaceable = false
    }

    let profile: FrontendProfile
    let space: FrontendSpace
    let events: FrontendEvents?
    private let askCounters: (@Sendable () -> [String: UInt64])?
    let state: Mutex<State>
    /// The connection in use: apart from the state, whose lock is held while an answer is waited for.
    let current: Mutex<BackEndLink>
    /// No other back-end will come.
    let isGivenUp = Atomic(false)
    /// The features that the back-end offers, less what the profile withholds.
    public let features: Features
    let backEndFeatures: Features

    /// Greets the back-end at the other end of `socket`. `events` learns of what happens to the connection; `counters` is asked for what the
    /// device has done, about which the protocol has nothing to say.
    ///
    /// - Throws: what keeps it from being the device that the profile describes.
    public init(
        _ socket: consuming OwnedDescriptor, _ profile: FrontendProfile, events: FrontendEvents? = nil,
        counters: (@Sendable () -> [String: UInt64])? = nil
    ) throws(VhostUserError) {
        self.profile = profile
        askCounters = counters
        self.events = events
        space = FrontendSpace(overlay: profile.configuration)
        let link = try BackEndLink(socket, profile, space, events)
        current = Mutex(link)
        backEndFeatures = link.greeting.features
        features = link.greeting.features
        state = Mutex(State(change: try hosted("make an event") { () throws(SystemError) in try EventFD() }))
        space.keep(link.configuration)
        link.adopt()
    }

    deinit { link.close() }

    // MARK: What it is

    /// The kind of device.
    public var deviceType: DeviceType { profile.deviceType }
    /// A short name.
    public var debugLabel: String { profile.label }
    /// All queues have the size of the profile.
    public var queueMaxSizes: [UInt16] { Array(repeating: profile.queueSize, count: profile.queueCount) }
    /// Nothing: this is the process that the guest's RAM belongs to.
    public var keepDescriptors: [Int32] { [] }

    /// What whoever made the front-end knows.
    public var counters: [String: UInt64] { askCounters?() ?? [:] }

    /// Copies configuration space; waits for nobody.
    public func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) { space.copy.read(at: offset, into: &bytes) }

    /// Passes a write on, and reads what became of it.
    public func writeConfiguration(at offset: Int, from bytes: Span<UInt8>) {
        guard link.has(.configuration), let start = UInt32(exactly: offset), offset <= profile.configurationSize - bytes.count else {
            return
        }
        var copy: [UInt8] = []
        for index in bytes.indices { copy.append(bytes[index]) }
        // A device that cannot be told will be when it is made anew.
        try? perform { (state) throws(VhostUserError) in
            for index in copy.indices { state.written[offset + index] = copy[index] }
            try link.connection.send(.setConfiguration(ConfigurationAccess(offset: start, bytes: copy)))
            try refreshSpace()
        }
    }

    /// Whether the back-end can note what it writes to RAM that `tracksWrites`.
    public var canLogWrites: Bool { link.greeting.canLog }

    // MARK: Its life

    /// Tells the back-end what was negotiated.
    public func acknowledge(_ features: Features) {
        // If it cannot be told now it will be with the activation, which can fail.
        try? state.withLock { (state) throws(VhostUserError) in
            if !state.isActive, !state.written.isEmpty {
                // An earlier driver has gone without ever being ready.
                try resetBackEnd()
                forget(&state)
            }
            if state.features != features { state.saved = nil }
            state.features = features
            try announceFeatures(&state)
            // The space may depend on them.
            try refreshSpace()
        }
    }

    /// Tells the back-end what was negotiated, where RAM is, and of every queue.
    public func activate(_ activation: consuming Activation) throws(DeviceError) {
        do throws(DeviceError) { try begin(activation) } catch {
            state.withLock { state in
                // A back-end that still answers must not go on with a part of them.
                for index in state.progress.started.sorted() { _ = try? link.connection.base(of: UInt32(index)) }
                (state.running, state.lost, state.isActive, state.progress.started) = ([:], [], false, [])
            }
            throw error
        }
    }

    private func begin(_ activation: consuming Activation) throws(DeviceError) {
        var activation = activation
        space.announcements.go(to: activation.interrupt)
        state.withLock { state in
            (state.features, state.memory, state.interrupt) = (activation.features, activation.memory, activation.interrupt)
            (state.isActive, state.isStalled) = (true, false)
            for index in 0..<activation.queues.count {
                if let queue = activation.queues.take(index) { state.running[index] = LentQueue(queue) }
            }
        }
        try perform { (state) throws(VhostUserError) in
            try synchronise(&state)
            state.saved = nil
        }
    }

    /// Stops all queues and lets the back-end forget its driver.
    public func reset() throws(DeviceError) {
        space.announcements.go(to: nil)
        try perform { (state) throws(VhostUserError) in
            guard state.isActive else { return }
            for index in state.progress.started.sorted() { _ = try link.connection.base(of: UInt32(index)) }
            try resetBackEnd()
            forget(&state)
        }
    }

    private func resetBackEnd() throws(VhostUserError) {
        if link.has(.status) {
            try link.connection.send(.setStatus(0))
        } else if link.has(.resetDevice) {
            try link.connection.send(.resetDevice)
        }
    }

    private func forget(_ state: inout State) {
        (state.running, state.lost, state.written, state.saved, state.inFlight) = ([:], [], [:], nil, nil)
        (state.interrupt, state.features, state.isActive, state.isStalled) = (nil, nil, false, false)
        state.progress = Progress(memory: state.progress.memory)
    }

    /// Stops one queue and gives it back.
    public func stopQueue(_ index: Int) throws(DeviceError) -> ActiveQueue? {
        try perform { (state) throws(VhostUserError) -> ActiveQueue? in
            guard let queue = state.running[index], let memory = state.memory else { return nil }
            let stopped = try stop(index, queue, &state)
            state.running[index] = nil
            return try stopped.returned(index, state.features, memory)
        }
    }

    /// Uses queues, or lets them rest (SET_VRING_ENABLE), from now on and in every back-end to come; they need not run yet.
    public func enable(_ queues: Range<Int>, _ isEnabled: Bool) throws(DeviceError) {
        try perform { (state) throws(VhostUserError) in
            if isEnabled { state.resting.subtract(queues) } else { state.resting.formUnion(queues) }
            let link = link
            guard link.greeting.hasProtocolFeatures else { return }
            for index in queues where state.progress.started.contains(index) {
                guard let number = UInt32(exactly: index) else { continue }
                try link.connection.send(.setRingEnable(RingState(index: number, value: isEnabled ? 1 : 0)))
                // It may have been rung at while it rested.
                if isEnabled { state.running[index]?.kick.signal() }
            }
            // Whoever does not acknowledge has done it when it answers something else.
            if !link.has(.replyAck), !state.progress.started.isDisjoint(with: queues) { _ = try link.connection.number(.getFeatures) }
        }
    }

    /// Starts one queue.
    public func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) {
        let index = queue.index
        let label = profile.label
        let limit = profile.queueCount
        try state.withLock { (state) throws(DeviceError) in
            guard state.isActive, index < limit, state.running[index] == nil else {
                throw DeviceError("\(label): queue \(index) cannot be started.")
            }
        }
        let running = LentQueue(queue)
        state.withLock { $0.running[index] = running }
        do throws(DeviceError) {
            try perform { (state) throws(VhostUserError) in try synchronise(&state) }
        } catch {
            state.withLock { state in
                // It must not go on with it either.
                if let number = UInt32(exactly: index), state.progress.started.remove(index) != nil {
                    _ = try? link.connection.base(of: number)
                }
                state.running[index] = nil
                state.lost.remove(index)
            }
            throw error
        }
    }

    /// Stops all queues and gives them back. When one cannot be stopped, those that were go on.
    public func sleep() throws(DeviceError) -> QueueSet? {
        do throws(DeviceError) {
            return try perform { (state) throws(VhostUserError) -> QueueSet? in
                guard state.isActive, let memory = state.memory else { return nil }
                try stopAll(&state)
                var queues = QueueSet(count: profile.queueCount)
                for (index, queue) in state.running { queues.put(try queue.returned(index, state.features, memory)) }
                (state.running, state.isActive, state.isStalled, state.inFlight) = ([:], false, false, nil)
                (state.progress.hasInFlight, state.progress.isReady) = (false, false)
                return queues
            }
        } catch {
            try? state.withLock { (state) throws(VhostUserError) in try synchronise(&state) }
            throw error
        }
    }

    /// Goes on where `sleep` stopped. After an error it has the queues, and `sleep` gives them back.
    public func wake(_ activation: consuming Activation?) throws(DeviceError) {
        guard let activation else { return }
        do throws(DeviceError) { try begin(activation) } catch {
            state.withLock { $0.isStalled = true }
            throw error
        }
    }
}
