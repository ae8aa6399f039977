import GuestMemory
import Host
import Virtio
import Virtqueue

@testable import Vhost

/// A guest's device on a fake kernel, and all that it needs to be activated.
final class VdpaRig {
    static let queueSize: UInt16 = 64

    let kernel: FakeKernel
    let device: VhostVdpaDevice
    let interrupts: Interrupts
    let memory: GuestMemory
    let features: Features
    let kicks: [EventFD]

    init(
        packed: Bool = false, isShared: Bool = true, drains: Bool = true, patience: Int64 = 60_000,
        _ change: (inout FakeKernel.State) -> Void = { _ in }
    ) throws {
        kernel = FakeKernel(change)
        let queues = kernel.look { $0.queues.count }
        var profile = VdpaProfile(.block, label: "disk", queueCount: queues, queueSize: 256, drains: drains)
        profile.patience = patience
        device = try VhostVdpaDevice(try VhostVdpa(kernel), profile)
        interrupts = try Interrupts(queues: queues)
        memory = try GuestMemory(ranges: [0..<1 << 20, 4 << 20..<6 << 20], isShared: isShared)
        features = packed ? [.version1, .ringPacked] : [.version1]
        kicks = try (0..<queues).map { _ in try EventFD() }
    }

    func configuration(_ index: Int) -> QueueConfiguration {
        var configuration = QueueConfiguration(maxSize: Self.queueSize)
        configuration.ready = true
        configuration.descriptorArea = 0x1000 + UInt64(index) * 0x1_0000
        configuration.driverArea = configuration.descriptorArea + 0x4000
        configuration.deviceArea = configuration.descriptorArea + 0x8000
        return configuration
    }

    /// DRIVER_OK, with all queues, at these positions.
    func activate(_ positions: [QueuePosition]? = nil) throws { try device.activate(try activation(positions)) }

    func activation(_ positions: [QueuePosition]? = nil) throws -> Activation {
        var queues = QueueSet(count: kicks.count)
        for index in kicks.indices {
            let ring = try GuestQueue(
                configuration(index), features: features.ring, position: positions?[index] ?? .initial, memory: memory)
            queues.put(ActiveQueue(index: index, ring: ring, kick: kicks[index]))
        }
        return Activation(memory: memory, interrupt: Interrupt(interrupts), features: features, queues: queues)
    }

    /// Takes all queues back; where they stood, or nil when the device was not active.
    func sleep() throws -> [QueuePosition]? {
        guard var queues = try device.sleep() else { return nil }
        var positions: [QueuePosition] = []
        for index in 0..<queues.count {
            if let queue = queues.take(index) { positions.append(queue.ring.position) }
        }
        return positions
    }

    /// What driver and device have written to a split ring.
    func setIndices(_ queue: Int, available: UInt16, used: UInt16) {
        memory.store(available, at: configuration(queue).driverArea + 2)
        memory.store(used, at: configuration(queue).deviceArea + 2)
    }
}
