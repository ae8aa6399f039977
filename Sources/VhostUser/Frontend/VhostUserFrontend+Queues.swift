import GuestMemory
import Host
import Virtio
import Virtqueue

/// A queue that a back-end has.
struct RunningQueue: Sendable {
    let configuration: QueueConfiguration
    let kick: EventFD
}

extension VhostUserFrontend {
    /// Ring addresses are those of the front-end's process. Any number will do that back-ends can look up in the memory table; guest
    /// addresses would, were it not for back-ends that take 0 for none.
    private static let userBase: UInt64 = 1 << 46

    private func user(_ guestAddress: UInt64) -> UInt64 { guestAddress &+ Self.userBase }

    /// Tells the back-end where RAM is, unless it knows.
    func share(_ memory: GuestMemory, _ state: inout State) throws(VhostUserError) {
        guard state.memory !== memory else { return }
        guard let file = memory.rawFileDescriptor else {
            throw VhostUserError(.host, "RAM is private to this process, so that no back-end can serve it.")
        }
        let regions = memory.regions.map {
            MemoryRegionDescription(
                guestAddress: $0.guestAddress, size: $0.size, userAddress: user($0.guestAddress), fileOffset: $0.fileOffset)
        }
        try connection.send(.setMemoryTable(regions), passing: regions.map { _ in file })
        state.memory = memory
    }

    /// Gives a queue to the back-end.
    func start(_ queue: consuming ActiveQueue, _ state: inout State) throws(VhostUserError) {
        guard state.isActive, let interrupt = state.interrupt else {
            throw VhostUserError(.device, "The device is not active, so queue \(queue.index) cannot be started.")
        }
        guard let number = UInt32(exactly: queue.index), queue.index < profile.queueCount, state.running[queue.index] == nil else {
            throw VhostUserError(.device, "Queue \(queue.index) cannot be started.")
        }
        guard let call = interrupt.callEvent(queue.index) else {
            throw VhostUserError(.device, "The transport has no event for queue \(queue.index).")
        }
        let configuration = queue.ring.configuration
        let word = queue.ring.position.vhostUserWord(state.features.ring.format)
        try connection.send(.setRingSize(RingState(index: number, value: UInt32(configuration.size))))
        try connection.send(.setRingBase(RingState(index: number, value: word)))
        try connection.send(
            .setRingAddresses(
                RingAddresses(
                    index: number, descriptorArea: user(configuration.descriptorArea), deviceArea: user(configuration.deviceArea),
                    driverArea: user(configuration.driverArea))))
        try connection.send(.setRingCall(RingDescriptor(index: number, isPresent: true)), passing: [call.rawValue])
        try connection.send(.setRingKick(RingDescriptor(index: number, isPresent: true)), passing: [queue.kick.rawValue])
        state.running[queue.index] = RunningQueue(configuration: configuration, kick: queue.kick)
        // Without features of the protocol rings are born enabled.
        if hasProtocolFeatures { try connection.send(.setRingEnable(RingState(index: number, value: 1))) }
        // Back-ends look at a ring when it starts, but not all of them do.
        queue.kick.signal()
    }

    /// Takes a queue back; nil when the back-end does not have it.
    func stop(_ index: Int, _ state: inout State) throws(VhostUserError) -> ActiveQueue? {
        guard let number = UInt32(exactly: index), let queue = state.running[index], let memory = state.memory else { return nil }
        let word = try connection.base(of: number)
        state.running[index] = nil
        let format = state.features.ring.format
        // All that was taken has been completed, so a split ring's used index is what stands in the ring.
        let used: UInt16 = memory.load(at: queue.configuration.deviceArea &+ 2) ?? 0
        let position = QueuePosition(vhostUserWord: word, format, used: used)
        do throws(QueueFault) {
            let ring = try GuestQueue(queue.configuration, features: state.features.ring, position: position, memory: memory)
            return ActiveQueue(index: index, ring: ring, kick: queue.kick)
        } catch {
            throw .violation("The back-end says of queue \(index) that it stands where it cannot (\(error)).")
        }
    }
}
