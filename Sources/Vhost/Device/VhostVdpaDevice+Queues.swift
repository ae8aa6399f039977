import GuestMemory
import Host
import Virtio
import Virtqueue

// How the kernel's device is brought to where the driver's set-up is, and stopped again.

extension LentQueue {
    /// The queue as one of ours, if the kernel gives it back where it can stand.
    func returned(_ index: Int, _ features: Features, _ memory: GuestMemory) throws(VdpaError) -> ActiveQueue {
        do throws(QueueFault) { return try active(index, features, memory) } catch {
            throw VdpaError(.other, "Queue \(index) stands where it cannot (\(error)).")
        }
    }

    /// Whether the device has nothing left to do: nothing in flight, nothing available. A driver that breaks the rules is waited for by nobody.
    func isDone(_ features: Features, _ memory: GuestMemory) throws(VdpaError) -> Bool {
        let queue = try returned(0, features, memory)
        guard queue.ring.inFlight == 0 else { return false }
        do throws(QueueFault) { return try !queue.ring.hasAvailable() } catch { return true }
    }
}

extension VhostVdpaDevice {
    /// Goes on after a suspension, or sets the device up from its beginning (virtio 1.3, 3.1.1).
    func start(_ state: inout State) throws(VdpaError) {
        guard let memory = state.memory else { return }
        if try resume(&state) { return }
        state.suspended = nil
        try vdpa.reset()
        try vdpa.addStatus([.acknowledge, .driver])
        try vdpa.setFeatures(wantsPlatformAddresses ? state.features.union(.accessPlatform) : state.features)
        try vdpa.addStatus(.featuresOK)
        try space.refresh()
        try vdpa.setConfigurationCall(configurationEvent)
        try map(memory, &state)
        for (index, queue) in state.queues.sorted(by: { $0.key < $1.key }) { try setUp(index, queue, state) }
        try vdpa.addStatus(.driverOK)
        // What was made available before it was there is announced to nobody else.
        for queue in state.queues.values { queue.kick.signal() }
    }

    /// Lets a suspended device go on where it stands; false when it cannot, or shall stand elsewhere.
    private func resume(_ state: inout State) throws(VdpaError) -> Bool {
        guard let suspended = state.suspended, vdpa.backendFeatures.contains(.resume), state.mapped === state.memory,
            suspended.count == state.queues.count,
            suspended.allSatisfy({ index, queue in
                state.queues[index].map {
                    $0.position == queue.position && $0.configuration == queue.configuration && $0.kick === queue.kick
                } ?? false
            })
        else { return false }
        try vdpa.resume()
        state.suspended = nil
        for queue in state.queues.values { queue.kick.signal() }
        return true
    }

    private func setUp(_ index: Int, _ queue: LentQueue, _ state: borrowing State) throws(VdpaError) {
        guard index < queueMaxSizes.count else { throw VdpaError(.outOfRange, "There is no queue \(index).") }
        guard let call = state.interrupt?.callEvent(index) else {
            throw VdpaError(.other, "The transport has no event for queue \(index).")
        }
        let configuration = queue.configuration
        try vdpa.setQueueSize(index, configuration.size)
        try vdpa.setQueueAddresses(
            index, descriptorArea: configuration.descriptorArea, driverArea: configuration.driverArea,
            deviceArea: configuration.deviceArea)
        try vdpa.setQueuePosition(index, queue.position, state.features.ring.format)
        try vdpa.setCall(index, call)
        try vdpa.setKick(index, queue.kick)
        try vdpa.setEnabled(index)
    }

    /// Shows the device all of RAM, at its guest-physical addresses.
    private func map(_ memory: GuestMemory, _ state: inout State) throws(VdpaError) {
        if state.mapped === memory, vdpa.backendFeatures.contains(.persistentTable) { return }
        guard memory.rawFileDescriptor != nil else {
            throw VdpaError(.other, "RAM is private to this process, and devices of the kernel reach shared memory only.")
        }
        let reach = try vdpa.addressRange()
        for region in memory.regions where !reach.contains(region.guestAddress) || !reach.contains(region.end - 1) {
            throw VdpaError(
                .outOfRange,
                "The device reaches addresses from \(hexadecimal(reach.lowerBound)) to \(hexadecimal(reach.upperBound)); RAM at \(hexadecimal(region.guestAddress)), \(region.size >> 20) MiB, is not among them."
            )
        }
        let old = state.mapped
        state.mapped = nil
        try vdpa.withBatch { () throws(VdpaError) in
            // What the kernel still knows of the device may have forgotten in the reset.
            for region in old?.regions ?? [] { try vdpa.dmaUnmap(at: region.guestAddress, size: region.size) }
            for region in memory.regions { try vdpa.dmaMap(region.range, at: region.guestAddress) }
        }
        state.mapped = memory
    }

    // MARK: Stopping

    /// Suspends the device: where its queues stand.
    func suspend(_ state: borrowing State, _ memory: GuestMemory) throws(VdpaError) -> [Int: LentQueue] {
        try vdpa.suspend()
        let format = state.features.ring.format
        var stopped = state.queues
        for (index, queue) in state.queues {
            let isStill = try poll { () throws(VdpaError) in
                let position = try vdpa.queuePosition(index, format, used: queue.usedIndex(memory))
                stopped[index]?.position = position
                return position.available == position.used && position.availableWrap == position.usedWrap
            }
            guard isStill else {
                // Nobody could say later which requests these were.
                if !vdpa.backendFeatures.contains(.resume) || (try? vdpa.resume()) == nil { state.interrupt?.needsReset() }
                throw VdpaError(.refused, "The device was suspended with requests of queue \(index) in flight.")
            }
        }
        return stopped
    }

    /// Stops a device that cannot be suspended: lets it finish all there is, and resets it. No CPU of the guest runs.
    func drain(_ state: borrowing State, _ memory: GuestMemory) throws(VdpaError) -> [Int: LentQueue] {
        let format = state.features.ring.format
        var stopped = state.queues
        for (index, queue) in state.queues where profile.drains {
            // A doorbell that nobody has heard yet.
            queue.kick.signal()
            let isStill = try poll { () throws(VdpaError) in
                var now = queue
                let used = queue.usedIndex(memory)
                now.position =
                    format == .split
                    ? QueuePosition(available: used, used: used) : try vdpa.queuePosition(index, format, used: used)
                stopped[index] = now
                return try now.isDone(state.features, memory)
            }
            guard isStill else { throw VdpaError(.refused, "The device does not finish the requests of queue \(index).") }
        }
        try vdpa.reset()
        // The device uses buffers in order, or has used all that there were: then it stands where it last used one.
        if format == .split {
            for (index, queue) in state.queues {
                let used = queue.usedIndex(memory)
                stopped[index]?.position = QueuePosition(available: used, used: used)
            }
        }
        return stopped
    }

    /// Looks again and again, for as long as the device may take.
    private func poll(_ body: () throws(VdpaError) -> Bool) throws(VdpaError) -> Bool {
        let deadline = MonotonicTime.now + profile.patience
        while true {
            if try body() { return true }
            guard MonotonicTime.now < deadline else { return false }
            _ = never.waitWithoutDraining(milliseconds: 1)
        }
    }
}
