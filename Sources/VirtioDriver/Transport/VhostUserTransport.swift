public import Host
import Synchronization
import VhostUser
public import Virtio
public import Virtqueue

/// A device behind a vhost-user socket: any back-end of anybody. Doorbells and used buffer notifications go straight between the queue's
/// owner and the back-end.
public final class VhostUserTransport: VirtioTransport {
    /// What is used of the protocol where the back-end has it.
    private static let wanted: ProtocolFeatures = [
        .multiQueue, .replyAck, .backendRequests, .configuration, .resetDevice, .status, .memorySlots,
    ]
    /// The regions that fit into one SET_MEM_TABLE.
    private static let tableRegions = 8
    /// Any device has at least this many bytes of configuration space, if it has one. Back-ends answer to the exact size only.
    private static let largestSpace = 256

    private struct State: Sendable {
        var events: [QueueEvents] = []
        /// Memory of queues that were reset, until the device has others. Back-ends (libvhost-user) look rings up again with each region that
        /// comes, also those that were stopped.
        var stale: [SharedMemory] = []
        var staleQueues = 0
        var isStarted = false
        var isNegotiated = true
    }

    private let connection: BackEndConnection
    private let greeting: Greeting
    private let requests: BackEndRequests?
    private let memory: TransportMemory
    private let signals: DeviceSignals
    private let state = Mutex(State())
    /// A second descriptor of the connection, which nobody reads.
    private let socket: OwnedDescriptor

    /// What was negotiated.
    public let features: Features

    /// Greets the back-end at the other end of `socket`: it gets what it offers of `wanted`. A back-end may take `patience` milliseconds for
    /// each answer.
    ///
    /// - Throws: `.refused` when it is no back-end, or too old a one; `.gone` when it leaves.
    public init(_ socket: consuming OwnedDescriptor, wanted: Features, patience: Int64 = 10_000) throws(DriverError) {
        let signals = try DeviceSignals()
        let second = try hosted("use the connection") { () throws(SystemError) in try socket.duplicate() }
        let slot = Slot(socket)
        let connection = try hosted("use the connection") { () throws(SystemError) in
            guard let socket = slot.take() else { throw SystemError("connection", .invalidArgument) }
            return try BackEndConnection(socket, patience: patience, failed: { _ in signals.change() })
        }
        // Of what a profile can say only the number of queues matters here, and one must be there.
        let profile = FrontendProfile(DeviceType(rawValue: 0), label: "driver", queueCount: 1, queueSize: 1)
        let met = try Self.asking { () throws(VhostUserError) in
            let greeting = try Greeting(connection, profile, wanted: Self.wanted)
            let slots = greeting.protocolFeatures.contains(.memorySlots) ? try connection.number(.getMaxMemorySlots) : nil
            let channel = try greeting.openChannel(
                connection, label: "driver", changed: { signals.change() }, ended: { signals.change() })
            return (greeting, slots, channel)
        }
        self.socket = second
        self.connection = connection
        self.signals = signals
        greeting = met.0
        requests = met.2
        memory = TransportMemory(
            pools: [1 << 32...(1 << 46) - 1], limit: met.1.map { Int(clamping: max($0, 1)) } ?? Self.tableRegions)
        features = met.0.features.intersection(wanted.union(.version1))
        try sendFeatures()
    }

    deinit {
        connection.close()
        requests?.stop()
    }

    /// The protocol does not tell.
    public var deviceType: DeviceType? { nil }
    /// GET_QUEUE_NUM, where the back-end has MQ.
    public var maxQueues: Int? { greeting.queueCount.map { Int(clamping: $0) } }
    /// GET_MAX_MEM_SLOTS, or what fits into a table.
    public var maxMemoryRegions: Int? { memory.limit }
    /// Pages, which `SharedMemory` has anyway; the protocol wants less.
    public var memoryRegionAlignment: Int { SharedMemory.pageSize }
    /// The protocol does not tell.
    public func maxQueueSize(_ queue: Int) throws(DriverError) -> UInt16? { nil }

    /// Whose fault an error of the protocol is.
    private static func asking<Result>(_ body: () throws(VhostUserError) -> Result) throws(DriverError) -> Result {
        do { return try body() } catch {
            switch error.kind {
            case .silence, .departure, .host: throw .gone(error.description)
            case .violation, .device: throw .refused(error.description)
            }
        }
    }

    private func sendFeatures() throws(DriverError) {
        let announcement = greeting.hasProtocolFeatures ? ProtocolFeatures.announcement : 0
        let word = features.rawValue | announcement
        try Self.asking { () throws(VhostUserError) in try connection.send(.setFeatures(word)) }
    }

    // MARK: Memory

    /// Makes a memory file for the queues.
    public func allocateQueueMemory(_ byteCount: Int) throws(DriverError) -> (memory: SharedMemory, iova: UInt64) {
        let made = try memory.makeQueueMemory(byteCount)
        return (made, try map(made))
    }

    /// ADD_MEM_REG, or a new table once there is one.
    public func map(_ memory: SharedMemory) throws(DriverError) -> UInt64 {
        try state.withLock { (state) throws(DriverError) in
            let isStarted = state.isStarted
            return try self.memory.map(memory) { (mapping) throws(DriverError) in
                if hasSlots {
                    try Self.asking { () throws(VhostUserError) in
                        try connection.send(.addMemoryRegion(Self.describe(mapping)), passing: [memory.file.rawValue])
                    }
                } else if isStarted {
                    try sendTable()
                }
            }
        }
    }

    /// REM_MEM_REG, or a new table once there is one.
    public func unmap(_ memory: SharedMemory) throws(DriverError) {
        try state.withLock { (state) throws(DriverError) in
            let isStarted = state.isStarted
            try remove(memory, changesTable: isStarted)
        }
    }

    private func remove(_ memory: SharedMemory, changesTable: Bool = true) throws(DriverError) {
        try self.memory.unmap(memory) { (mapping) throws(DriverError) in
            if hasSlots {
                try Self.asking { () throws(VhostUserError) in try connection.send(.removeMemoryRegion(Self.describe(mapping))) }
            } else if changesTable {
                try sendTable()
            }
        }
    }

    private var hasSlots: Bool { greeting.protocolFeatures.contains(.memorySlots) }

    private func sendTable() throws(DriverError) {
        let mappings = memory.book.mappings
        try Self.asking { () throws(VhostUserError) in
            try connection.send(.setMemoryTable(mappings.map(Self.describe)), passing: mappings.map { $0.memory.file.rawValue })
        }
    }

    /// Ring addresses are those of the front-end's process, by the protocol; any number that the back-end can look up will do.
    private static func describe(_ mapping: IOVASpace.Mapping) -> MemoryRegionDescription {
        MemoryRegionDescription(
            guestAddress: mapping.iova, size: UInt64(mapping.memory.count), userAddress: mapping.iova, fileOffset: 0)
    }

    /// A look-up of the device's addresses.
    public func makeTranslator() -> IOVATranslator { IOVATranslator(memory.book) }

    // MARK: Queues

    /// Brings every ring up, the last step being DRIVER_OK where the back-end has the status.
    public func setUpQueues(_ queues: [QueueConfiguration]) throws(DriverError) {
        try state.withLock { (state) throws(DriverError) in
            guard !state.isStarted else { throw .wrongState("The queues are set up already.") }
            if let count = maxQueues, queues.count > count { throw .noSuchQueue(count) }
            if !state.isNegotiated { try sendFeatures() }
            state.isNegotiated = true
            if !hasSlots { try sendTable() }
            var events: [QueueEvents] = []
            for _ in queues { events.append(try QueueEvents()) }
            state.isStarted = true
            state.events = events
            try Self.asking { () throws(VhostUserError) in
                for index in queues.indices { try start(UInt32(truncatingIfNeeded: index), queues[index], events[index]) }
                if greeting.protocolFeatures.contains(.status) {
                    let status: DeviceStatus = [.acknowledge, .driver, .featuresOK, .driverOK]
                    try connection.send(.setStatus(UInt64(status.rawValue)))
                }
            }
            guard queues.count >= state.staleQueues else { return }
            for old in state.stale { try remove(old) }
            (state.stale, state.staleQueues) = ([], 0)
        }
    }

    private func start(_ index: UInt32, _ queue: QueueConfiguration, _ events: QueueEvents) throws(VhostUserError) {
        let base = QueuePosition.initial.vringBase(features.ring.format)
        try connection.send(.setRingSize(RingState(index: index, value: UInt32(queue.size))))
        try connection.send(.setRingBase(RingState(index: index, value: base)))
        try connection.send(
            .setRingAddresses(
                RingAddresses(
                    index: index, descriptorArea: queue.descriptorArea, deviceArea: queue.deviceArea, driverArea: queue.driverArea)))
        try connection.send(.setRingCall(RingDescriptor(index: index, isPresent: true)), passing: [events.call.rawValue])
        try connection.send(.setRingKick(RingDescriptor(index: index, isPresent: true)), passing: [events.kick.rawValue])
        // Without features of the protocol rings are born enabled.
        if greeting.hasProtocolFeatures { try connection.send(.setRingEnable(RingState(index: index, value: 1))) }
    }

    /// Signals the event that the back-end waits for.
    public func submissionNotifier(_ queue: Int) throws(DriverError) -> SubmissionNotifier {
        SubmissionNotifier(try events(of: queue).kick)
    }

    /// The event that the back-end signals.
    public func completionEvent(_ queue: Int) throws(DriverError) -> EventFD { try events(of: queue).call }

    private func events(of queue: Int) throws(DriverError) -> QueueEvents {
        try state.withLock { (state) throws(DriverError) in try state.events.of(queue) }
    }

    // MARK: Configuration and state

    /// GET_CONFIG; the back-end sees to it that the bytes belong together.
    public func readConfiguration(at offset: Int, count: Int) throws(DriverError) -> [UInt8] {
        guard greeting.protocolFeatures.contains(.configuration) else {
            throw .notNegotiated("configuration space (VHOST_USER_PROTOCOL_F_CONFIG)")
        }
        guard let start = UInt32(exactly: offset), count > 0, offset + count <= Self.largestSpace else {
            throw .refused("There is no configuration space at \(offset).")
        }
        return try Self.asking { () throws(VhostUserError) in try connection.configuration(at: start, count: count) }
    }

    /// SET_CONFIG.
    public func writeConfiguration(_ bytes: [UInt8], at offset: Int) throws(DriverError) {
        guard greeting.protocolFeatures.contains(.configuration) else {
            throw .notNegotiated("configuration space (VHOST_USER_PROTOCOL_F_CONFIG)")
        }
        guard let start = UInt32(exactly: offset), !bytes.isEmpty, offset + bytes.count <= Self.largestSpace else {
            throw .refused("There is no configuration space at \(offset).")
        }
        try Self.asking { () throws(VhostUserError) in
            try connection.send(.setConfiguration(ConfigurationAccess(offset: start, bytes: bytes)))
        }
    }

    /// Signalled for announcements of the back-end, and when the connection is of no use any more.
    public var changeEvent: EventFD { signals.changed }
    /// The connection itself.
    public var hangupDescriptor: Int32? { socket.rawValue }

    /// Whether the back-end is there, and its device works as far as the protocol tells.
    public func checkDevice() throws(DriverError) {
        if let failure = connection.failure { throw .gone(failure.description) }
        if socket.isHungUp { throw .gone("The back-end has left.") }
        guard greeting.protocolFeatures.contains(.status) else { return }
        let status: UInt64
        do throws(DriverError) {
            status = try Self.asking { () throws(VhostUserError) in try connection.number(.getStatus) }
        } catch {
            // One that ends closes its connections one by one.
            if socket.isHungUp { throw .gone("The back-end has left.") }
            throw error
        }
        if DeviceStatus(rawValue: UInt8(truncatingIfNeeded: status)).contains(.needsReset) { throw .needsReset }
    }

    /// Stops every ring, which ends what is in flight, and has the device reset where the protocol can say so.
    public func reset() throws(DriverError) {
        try state.withLock { (state) throws(DriverError) in
            defer {
                state.staleQueues = max(state.staleQueues, state.events.count)
                state.events = []
                state.isStarted = false
                state.isNegotiated = false
            }
            if state.isStarted {
                let count = UInt32(truncatingIfNeeded: state.events.count)
                try Self.asking { () throws(VhostUserError) in
                    for index in 0..<count { _ = try connection.base(of: index) }
                    if greeting.protocolFeatures.contains(.status) {
                        try connection.send(.setStatus(0))
                    } else if greeting.protocolFeatures.contains(.resetDevice) {
                        try connection.send(.resetDevice)
                    }
                }
            }
            if let queues = memory.dropQueueMemory() { state.stale.append(queues) }
        }
    }
}
