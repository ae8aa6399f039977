import GuestMemory
import Host
import Virtio
import Virtqueue

/// What drivers in the host's kernel do with a device of ours, one after the other.
struct VDUSESession: ~Copyable {
    private let kernel: any VDUSEKernel
    private let device: any VirtioDevice
    private let offer: VDUSEOffer
    private let signals: VDUSESignals
    private let report: @Sendable (String) -> Void
    /// One doorbell for each queue, for all drivers.
    private let kicks: [EventFD]
    private var status: DeviceStatus = []
    private var features: Features = []
    private var memory: GuestMemory?
    /// The queues that the device has.
    private var running: Set<Int> = []
    private var isActive = false

    init(
        _ device: any VirtioDevice, _ offer: VDUSEOffer, _ kernel: any VDUSEKernel, report: @escaping @Sendable (String) -> Void
    ) throws(SystemError) {
        (self.kernel, self.device, self.offer, self.report) = (kernel, device, offer, report)
        signals = VDUSESignals(kernel, device, configurationSize: offer.configuration.count, report: report)
        var kicks: [EventFD] = []
        for _ in offer.queueSizes { kicks.append(try EventFD()) }
        self.kicks = kicks
    }

    /// Does what the kernel asks, and answers.
    mutating func answer(_ request: VDUSENode.Request) throws(SystemError) {
        var succeeded = true
        var position: QueuePosition?
        switch request.kind {
        case .status(let value): succeeded = setStatus(DeviceStatus(rawValue: value))
        case .mappings: changeMemory()
        case .queueState(let number):
            position = self.position(of: number)
            succeeded = position != nil
        case .unknown(let type):
            report("the kernel has asked something unknown (request \(type))")
            succeeded = false
        }
        do throws(SystemError) {
            try kernel.answer(request, succeeded: succeeded, position: position, features.ring.format)
        } catch {
            // Who asked has not waited.
            guard error.errno == .noEntry else { throw error }
        }
    }

    /// Stops the device; what was said is forgotten.
    mutating func finish() {
        if isActive {
            do throws(DeviceError) { try device.reset() } catch { report(error.description) }
        }
        (isActive, running, memory) = (false, [], nil)
        (status, features) = ([], [])
        signals.clearFailure()
    }

    /// Whether the device takes it (virtio 1.3, 3.1.1).
    private mutating func setStatus(_ wanted: DeviceStatus) -> Bool {
        if wanted.isEmpty {
            finish()
            return true
        }
        if wanted.contains(.featuresOK), !status.contains(.featuresOK) {
            guard let word = try? kernel.negotiatedFeatures() else { return false }
            let negotiated = Features(rawValue: word)
            guard negotiated.isSubset(of: offer.features), negotiated.contains(.version1) else {
                report("its driver wants features 0x\(String(word, radix: 16)), with which it cannot work")
                return false
            }
            features = negotiated.subtracting(.accessPlatform)
            device.acknowledge(features)
        }
        if wanted.contains(.driverOK), !status.contains(.driverOK) {
            do { try start() } catch {
                report("it cannot be started: \(error)")
                if isActive { try? device.reset() }
                (isActive, running, memory) = (false, [], nil)
                return false
            }
        }
        status = wanted
        return true
    }

    private mutating func start() throws {
        let memory = try VDUSEMemory.all(of: kernel, report: report)
        self.memory = memory
        var queues = QueueSet(count: kicks.count)
        var started: Set<Int> = []
        for index in kicks.indices {
            let info = try kernel.queueInfo(index, features.ring.format)
            guard info.isReady else { continue }
            queues.put(try queue(index, info, memory))
            started.insert(index)
            // What the driver signalled before comes now.
            try kernel.setKick(index, kicks[index])
        }
        isActive = true
        try device.activate(Activation(memory: memory, interrupt: Interrupt(signals), features: features, queues: queues))
        running = started
    }

    private func queue(_ index: Int, _ info: VDUSENode.QueueInfo, _ memory: GuestMemory) throws -> ActiveQueue {
        var configuration = QueueConfiguration(maxSize: offer.queueSizes[index])
        guard let size = UInt16(exactly: info.size), (1...configuration.maxSize).contains(size) else {
            throw DeviceError("Queue \(index) has \(info.size) descriptors; it can have \(configuration.maxSize).")
        }
        (configuration.size, configuration.ready) = (size, true)
        (configuration.descriptorArea, configuration.driverArea, configuration.deviceArea) =
            (info.descriptorArea, info.driverArea, info.deviceArea)
        var position = info.position
        if features.ring.format == .split {
            // The kernel tells how far the device has taken; how far it has used stands in the ring.
            position.used = memory.load(at: info.deviceArea &+ 2) ?? position.available
        }
        let ring = try GuestQueue(configuration, features: features.ring, position: position, memory: memory)
        return ActiveQueue(index: index, ring: ring, kick: kicks[index])
    }

    /// The driver has other memory: the queues stop, and go on in that where they stood. Where one cannot, because its memory has gone, the
    /// device stands still until the driver begins anew.
    private mutating func changeMemory() {
        guard isActive else { return }
        do {
            guard var queues = try device.sleep() else { return }
            memory = nil
            let new = try VDUSEMemory.all(of: kernel, report: report)
            var moved = QueueSet(count: kicks.count)
            for index in kicks.indices {
                guard let queue = queues.take(index) else { continue }
                let ring = try GuestQueue(queue.ring.configuration, features: features.ring, position: queue.ring.position, memory: new)
                moved.put(ActiveQueue(index: index, ring: ring, kick: kicks[index]))
            }
            try device.wake(Activation(memory: new, interrupt: Interrupt(signals), features: features, queues: moved))
            memory = new
        } catch {
            // A driver that leaves takes its memory before it says so.
            try? device.reset()
            (isActive, running, memory) = (false, [], nil)
        }
    }

    /// Where a queue stands; one that runs is stopped for a moment, so that nothing of it is in flight.
    private mutating func position(of number: UInt32) -> QueuePosition? {
        guard let index = Int(exactly: number), kicks.indices.contains(index) else { return nil }
        guard isActive, running.contains(index) else {
            return (try? kernel.queueInfo(index, features.ring.format))?.position ?? .initial
        }
        do throws(DeviceError) {
            guard let queue = try device.stopQueue(index) else { return nil }
            let position = queue.ring.position
            try device.startQueue(queue)
            return position
        } catch {
            report(error.description)
            running.remove(index)
            return nil
        }
    }
}
