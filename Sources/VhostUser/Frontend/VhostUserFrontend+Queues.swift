import GuestMemory
import Host
import Synchronization
import Virtio
import Virtqueue

/// Memory in which a back-end notes the requests in flight, for the next one.
struct InFlightFile: Sendable {
    let file: SharedDescriptor
    let description: InFlightDescription
}

/// A descriptor with several owners.
final class SharedDescriptor: Sendable {
    let descriptor: OwnedDescriptor
    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
}

extension LentQueue {
    /// The queue as one of ours, if the back-end gives it back where it can stand.
    func returned(_ index: Int, _ features: Features?, _ memory: GuestMemory) throws(VhostUserError) -> ActiveQueue {
        do throws(QueueFault) { return try active(index, features ?? [], memory) } catch {
            throw .violation("The back-end says of queue \(index) that it stands where it cannot (\(error)).")
        }
    }
}

extension VhostUserFrontend {
    /// Ring addresses are those of the front-end's process. Any number will do that back-ends can look up in the memory table; guest
    /// addresses would, were it not for back-ends that take 0 for none.
    private static let userBase: UInt64 = 1 << 46

    private func user(_ guestAddress: UInt64) -> UInt64 { guestAddress &+ Self.userBase }

    /// The connection in use.
    var link: BackEndLink { current.withLock { $0 } }

    /// Reads configuration space, as much of it as the back-end has.
    func refreshSpace() throws(VhostUserError) {
        let link = link
        try space.refresh(from: link.connection, count: link.spaceSize)
    }

    /// Tells the back-end what was negotiated, unless it knows.
    func announceFeatures(_ state: inout State) throws(VhostUserError) {
        guard let features = state.features else { return }
        let link = link
        let announcement = link.greeting.hasProtocolFeatures ? ProtocolFeatures.announcement : 0
        let logging = try shareLog(&state) ? ProtocolFeatures.logging : 0
        let word = features.intersection(backEndFeatures).rawValue | announcement | logging
        guard state.progress.features != word else { return }
        try link.connection.send(.setFeatures(word))
        state.progress.features = word
    }

    /// Gives the back-end the log in which RAM wants to find what it writes, unless it has it; whether there is one.
    private func shareLog(_ state: inout State) throws(VhostUserError) -> Bool {
        guard let memory = state.memory, let log = memory.rawLog else { return false }
        guard state.progress.logged !== memory else { return true }
        let link = link
        guard link.greeting.canLog else {
            throw VhostUserError(.device, "The back-end cannot log what it writes (VHOST_USER_PROTOCOL_F_LOG_SHMFD, VHOST_F_LOG_ALL).")
        }
        // What it answers says nothing: some give the size back.
        _ = try link.connection.number(.setLogBase(LogDescription(size: log.size, offset: 0)), passing: [log.descriptor])
        state.progress.logged = memory
        return true
    }

    /// Brings the back-end to where the driver's set-up is. What it knows already is not said again, so that this may fail half-way and be
    /// done once more.
    func synchronise(_ state: inout State) throws(VhostUserError) {
        if let failure = link.connection.failure { throw failure }
        try announceFeatures(&state)
        guard state.isActive, let memory = state.memory else { return }
        try share(memory, &state)
        try noteInFlight(&state)
        for index in state.running.keys.sorted() where !state.progress.started.contains(index) {
            if let queue = state.running[index] { try start(index, queue, &state) }
        }
        if link.has(.status), !state.progress.isReady {
            let status: DeviceStatus = [.acknowledge, .driver, .featuresOK, .driverOK]
            try link.connection.send(.setStatus(UInt64(status.rawValue)))
        }
        state.progress.isReady = true
    }

    /// Tells the back-end where RAM is, unless it knows.
    private func share(_ memory: GuestMemory, _ state: inout State) throws(VhostUserError) {
        guard state.progress.memory !== memory else { return }
        guard let file = memory.rawFileDescriptor else {
            throw VhostUserError(.device, "RAM is private to this process, so that no back-end can serve it.")
        }
        let regions = memory.regions.map {
            MemoryRegionDescription(
                guestAddress: $0.guestAddress, size: $0.size, userAddress: user($0.guestAddress), fileOffset: $0.fileOffset)
        }
        try link.connection.send(.setMemoryTable(regions), passing: regions.map { _ in file })
        state.progress.memory = memory
    }

    /// Gives the back-end the notes of the one before, or asks for a place for its own.
    private func noteInFlight(_ state: inout State) throws(VhostUserError) {
        let link = link
        guard link.has(.inFlight), !state.progress.hasInFlight else { return }
        let notes: InFlightFile
        if let kept = state.inFlight {
            notes = kept
        } else {
            let wanted = InFlightDescription(
                size: 0, offset: 0, queueCount: UInt16(clamping: profile.queueCount), queueSize: profile.queueSize)
            let made = try link.connection.inFlight(wanted)
            guard let file = made.file.take() else { return }
            notes = InFlightFile(file: SharedDescriptor(file), description: made.description)
            state.inFlight = notes
        }
        try link.connection.send(.setInFlight(notes.description), passing: [notes.file.descriptor.rawValue])
        state.progress.hasInFlight = true
    }

    /// Gives a queue to the back-end.
    private func start(_ index: Int, _ queue: LentQueue, _ state: inout State) throws(VhostUserError) {
        let connection = link.connection
        guard let number = UInt32(exactly: index), index < profile.queueCount else {
            throw VhostUserError(.device, "Queue \(index) cannot be started.")
        }
        guard let call = state.interrupt?.callEvent(index) else {
            throw VhostUserError(.device, "The transport has no event for queue \(index).")
        }
        let configuration = queue.configuration
        let format = (state.features ?? []).ring.format
        let isLost = state.lost.contains(index)
        if isLost { markRing(configuration, format, state.memory) }
        var position = queue.position
        if isLost, format == .split, let used: UInt16 = state.memory?.load(at: configuration.deviceArea &+ 2) {
            // What the driver has been told of is done; what was in flight beyond stands in the notes. A packed queue's place stands there, too.
            position = QueuePosition(available: used, used: used)
        }
        try connection.send(.setRingSize(RingState(index: number, value: UInt32(configuration.size))))
        try connection.send(.setRingBase(RingState(index: number, value: position.vringBase(format))))
        try connection.send(
            .setRingAddresses(
                RingAddresses(
                    index: number, flags: state.progress.logged == nil ? 0 : RingAddresses.isLogged,
                    descriptorArea: user(configuration.descriptorArea),
                    deviceArea: user(configuration.deviceArea), driverArea: user(configuration.driverArea), log: configuration.deviceArea)))
        try connection.send(.setRingCall(RingDescriptor(index: number, isPresent: true)), passing: [call.rawValue])
        // From here on it may process the ring, whatever else it says.
        state.progress.started.insert(index)
        try connection.send(.setRingKick(RingDescriptor(index: number, isPresent: true)), passing: [queue.kick.rawValue])
        // Without features of the protocol rings are born enabled.
        if link.greeting.hasProtocolFeatures {
            try connection.send(.setRingEnable(RingState(index: number, value: state.resting.contains(index) ? 0 : 1)))
        }
        state.lost.remove(index)
        // Back-ends look at a ring when it starts, but not all of them do.
        queue.kick.signal()
        // What was used before the other back-end ended may have been announced to nobody.
        if isLost { call.signal() }
    }

    /// What the other back-end wrote to its ring at last it may not have logged any more. Its buffers come again.
    private func markRing(_ configuration: QueueConfiguration, _ format: RingFormat, _ memory: GuestMemory?) {
        guard let memory, memory.tracksWrites else { return }
        var areas: [(RingArea, UInt64)] = [(.device, configuration.deviceArea)]
        if format == .packed { areas.append((.descriptor, configuration.descriptorArea)) }
        for (area, address) in areas {
            let count = format.byteCount(of: area, size: configuration.size)
            if let range = memory.range(at: address, count: count) { memory.markWritten(range) }
        }
    }

    /// Takes all queues back: they stand in the state as they stand now.
    func stopAll(_ state: inout State) throws(VhostUserError) {
        for index in state.running.keys.sorted() {
            if let queue = state.running[index] { state.running[index] = try stop(index, queue, &state) }
        }
    }

    /// Takes a queue back, if the back-end has it: the queue as it stands now.
    func stop(_ index: Int, _ queue: LentQueue, _ state: inout State) throws(VhostUserError) -> LentQueue {
        guard !state.lost.contains(index) else {
            // Another back-end can have it and give it back.
            throw link.connection.failure ?? VhostUserError(.device, "Nobody can say where queue \(index) stands.")
        }
        guard state.progress.started.contains(index), let number = UInt32(exactly: index) else { return queue }
        let word = try link.connection.base(of: number)
        state.progress.started.remove(index)
        // All that was taken has been completed, so a split ring's used index is what stands in the ring.
        let used = state.memory.map { queue.usedIndex($0) } ?? 0
        var stopped = queue
        stopped.position = QueuePosition(vringBase: word, (state.features ?? []).ring.format, used: used)
        return stopped
    }
}
