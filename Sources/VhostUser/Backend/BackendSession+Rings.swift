import GuestMemory
import Host
import Virtio
import Virtqueue

// Rings and memory (vhost-user, Ring states; Memory region description). A ring runs while it is started and enabled and there is RAM; every
// change of one of these goes through `settle`.

extension BackendSession {
    mutating func setSize(_ ring: RingState) throws(VhostUserError) {
        let index = try stopped(ring.index, "SET_VRING_NUM")
        guard let size = UInt16(exactly: ring.value), (1...rings[index].maxSize).contains(size) else {
            throw .violation("SET_VRING_NUM gives queue \(index) \(ring.value) descriptors; it can have \(rings[index].maxSize).")
        }
        rings[index].size = size
    }

    mutating func setAddresses(_ addresses: RingAddresses) throws(VhostUserError) {
        let index = try index(addresses.index, "SET_VRING_ADDR")
        // Said again for a running ring, they may only say the same: that is how logging is turned on and off.
        if rings[index].isRunning, let old = rings[index].addresses {
            var same = addresses
            (same.flags, same.log) = (old.flags, old.log)
            guard same == old else { throw .violation("SET_VRING_ADDR moves queue \(index) while it is running.") }
        }
        rings[index].addresses = addresses
        if try !followLog() { try settle(index) }
    }

    mutating func setKick(_ ring: RingDescriptor, _ event: EventFD?) throws(VhostUserError) {
        let index = try stopped(ring.index, "SET_VRING_KICK")
        guard let event else {
            throw VhostUserError(.violation, "SET_VRING_KICK for queue \(index) came without a doorbell, and polling is not served.")
        }
        rings[index].kick = event
        rings[index].isStarted = true
        // Front-ends that do not know SET_VRING_ENABLE have not announced that they do.
        if protocolFeatures == nil { rings[index].isEnabled = true }
        try settle(index)
    }

    mutating func setEnable(_ ring: RingState) throws(VhostUserError) {
        let index = try index(ring.index, "SET_VRING_ENABLE")
        guard ring.value <= 1 else { throw .violation("SET_VRING_ENABLE has \(ring.value) for queue \(index); expected 0 or 1.") }
        rings[index].isEnabled = ring.value == 1
        try settle(index)
    }

    /// Stops a ring and says where it stands.
    mutating func getBase(_ ring: RingState) throws(VhostUserError) -> RingState {
        let index = try index(ring.index, "GET_VRING_BASE")
        rings[index].isStarted = false
        try settle(index)
        rings[index].kick = nil
        signals.setCall(index, nil)
        // A base that was set since the ring stopped is newer than where it stopped.
        let word = rings[index].base ?? rings[index].position?.vringBase(features.ring.format) ?? 0
        return RingState(index: ring.index, value: word)
    }

    /// Stops all rings and forgets what was said about them; RAM and descriptors for calls stay.
    mutating func reset() throws(VhostUserError) {
        try stopDevice()
        // What rings are made next is nothing that this could tell of.
        inFlight?.clear()
    }

    private mutating func stopDevice() throws(VhostUserError) {
        if isActive {
            do throws(DeviceError) { try device.reset() } catch { throw VhostUserError(.device, error.description) }
        }
        isActive = false
        forgetAcknowledgement()
        status = 0
        rings = rings.map { BackendRing(maxSize: $0.maxSize) }
        signals.clearFailure()
    }

    /// The front-end has left. It may come again with what was noted of requests in flight.
    mutating func finish() throws(VhostUserError) { try stopDevice() }

    // MARK: Running

    mutating func startAll() throws(VhostUserError) {
        for index in rings.indices { try settle(index) }
    }

    /// Gives a ring to the device, or takes it back, as its state asks.
    private mutating func settle(_ index: Int) throws(VhostUserError) {
        let ring = rings[index]
        let shallRun = ring.isStarted && ring.isEnabled && ring.addresses != nil && memory != nil
        guard shallRun != ring.isRunning else { return }
        if shallRun { try start(index) } else { try halt(index) }
    }

    private mutating func start(_ index: Int) throws(VhostUserError) {
        guard let memory else { return }
        guard let queue = try makeQueue(index, memory) else { return }
        do throws(DeviceError) {
            if isActive {
                try device.startQueue(queue)
            } else {
                acknowledge()
                var queues = QueueSet(count: rings.count)
                queues.put(queue)
                try device.activate(
                    Activation(memory: memory, interrupt: Interrupt(signals), features: features, queues: queues))
                isActive = true
            }
        } catch {
            throw VhostUserError(.device, error.description)
        }
        rings[index].isRunning = true
        (rings[index].base, rings[index].position) = (nil, nil)
        // Whoever served the ring before may have ended between a used buffer and its announcement.
        if inFlight != nil { signals.queueUsed(index) }
    }

    private mutating func halt(_ index: Int) throws(VhostUserError) {
        do throws(DeviceError) {
            if var queue = try device.stopQueue(index) {
                guard queue.ring.endLog() || signals.needsReset else {
                    throw DeviceError("Queue \(index) was stopped with requests in flight.")
                }
                rings[index].position = queue.ring.position
            }
        } catch {
            throw VhostUserError(.device, error.description)
        }
        rings[index].isRunning = false
    }

    /// The device's end of a ring; nil, after DEVICE_NEEDS_RESET, when the driver has set up none that can be.
    private func makeQueue(_ index: Int, _ memory: GuestMemory) throws(VhostUserError) -> ActiveQueue? {
        let ring = rings[index]
        guard let addresses = ring.addresses, let kick = ring.kick else { return nil }
        guard let descriptors = table.guestAddress(ofUser: addresses.descriptorArea),
            let driver = table.guestAddress(ofUser: addresses.driverArea), let device = table.guestAddress(ofUser: addresses.deviceArea)
        else { throw .violation("SET_VRING_ADDR puts queue \(index) where no memory region is.") }
        var configuration = QueueConfiguration(maxSize: ring.maxSize)
        configuration.size = ring.size
        configuration.ready = true
        (configuration.descriptorArea, configuration.driverArea, configuration.deviceArea) = (descriptors, driver, device)
        let format = features.ring.format
        let start: QueuePosition
        if let word = ring.base {
            // A split ring's base says nothing of used buffers: their index stands in the ring itself. Of a fresh packed ring, DPDK says where
            // it stands for the driver alone: at its word, all descriptors would be in flight.
            let isFresh = format == .packed && word == 0x8000
            start = isFresh ? .initial : QueuePosition(vringBase: word, format, used: memory.load(at: device &+ 2) ?? 0)
        } else {
            start = ring.position ?? .initial
        }
        do throws(QueueFault) {
            let log = inFlight?.log(index, format, size: ring.size)
            return ActiveQueue(
                index: index, ring: try GuestQueue(configuration, features: features.ring, position: start, memory: memory, log: log),
                kick: kick)
        } catch {
            // Once until the reset: every further message about the ring comes by here again.
            if !signals.needsReset { report("queue \(index) cannot be used: \(error)") }
            signals.deviceNeedsReset()
            return nil
        }
    }

    // MARK: Memory

    mutating func setMemory(
        _ descriptions: [MemoryRegionDescription], _ descriptors: inout PassedDescriptors
    ) throws(VhostUserError) {
        var new = BackendMemory()
        for description in descriptions {
            guard let file = descriptors.takeFirst() else { throw .violation("SET_MEM_TABLE has more regions than descriptors.") }
            try new.add(description, file, "SET_MEM_TABLE")
        }
        try changeMemory { (table) throws(VhostUserError) in table = new }
    }

    mutating func addMemory(_ description: MemoryRegionDescription, _ descriptors: inout PassedDescriptors) throws(VhostUserError) {
        guard let file = descriptors.takeFirst() else { throw .violation("ADD_MEM_REG came without a descriptor.") }
        var new = table
        try new.add(description, file, "ADD_MEM_REG")
        try changeMemory { (table) throws(VhostUserError) in table = new }
    }

    /// Changes the table. Rings that run are stopped meanwhile and go on in the new RAM where they stood.
    mutating func changeMemory(_ change: (inout BackendMemory) throws(VhostUserError) -> Void) throws(VhostUserError) {
        var new = table
        try change(&new)
        let wanted = writeLog(new)
        let newMemory = try new.guestMemory(log: wanted)
        let running = rings.indices.filter { rings[$0].isRunning }
        for index in running { try halt(index) }
        (table, memory, usedLog) = (new, newMemory, wanted)
        // Also those that have waited for RAM.
        try startAll()
    }
}
