import GuestMemory
import Host
import Virtio
import Virtqueue

@testable import VhostUser

/// A front-end with a fake back-end behind it, and all that it needs to be activated.
final class FrontendRig {
    static let queueCount = 2
    static let queueSize: UInt16 = 64

    let fake: FakeBackEnd
    let frontend: VhostUserFrontend
    let interrupts: CountingInterrupts
    let memory: GuestMemory
    private let features: Features

    /// What the front-end knows of its device. `patience` is how long its back-end may take, in milliseconds.
    static func profile(patience: Int64 = Timeout.patience) -> FrontendProfile {
        var profile = FrontendProfile(.entropy, label: "fake", queueCount: queueCount, queueSize: queueSize)
        profile.configurationSize = 60
        profile.isStateless = true
        profile.patience = patience
        return profile
    }

    init(
        _ script: FakeBackEnd.Script = FakeBackEnd.Script(), packed: Bool = false, isShared: Bool = true, tracksWrites: Bool = false,
        patience: Int64 = Timeout.patience, continuity: FrontendProfile.Continuity = .anyRequest
    ) throws {
        let fake = try FakeBackEnd(script)
        self.fake = fake
        var profile = Self.profile(patience: patience)
        profile.continuity = continuity
        frontend = try VhostUserFrontend(try fake.socket(), profile)
        interrupts = try CountingInterrupts()
        memory = try GuestMemory(ranges: [0..<1 << 20], isShared: isShared, tracksWrites: tracksWrites)
        features = packed ? [.version1, .ringPacked] : [.version1]
    }

    private func queue(_ index: Int) throws -> ActiveQueue {
        var configuration = QueueConfiguration(maxSize: Self.queueSize)
        configuration.ready = true
        configuration.descriptorArea = 0x1000 + UInt64(index) * 0x1_0000
        configuration.driverArea = configuration.descriptorArea + 0x4000
        configuration.deviceArea = configuration.descriptorArea + 0x8000
        let ring = try GuestQueue(configuration, features: features.ring, memory: memory)
        return ActiveQueue(index: index, ring: ring, kick: try EventFD())
    }

    /// DRIVER_OK, with all queues.
    func activate(interrupt: (any InterruptSink)? = nil) throws {
        var queues = QueueSet(count: Self.queueCount)
        for index in 0..<Self.queueCount { queues.put(try queue(index)) }
        try frontend.activate(
            Activation(memory: memory, interrupt: Interrupt(interrupt ?? interrupts), features: features, queues: queues))
    }

    /// Says in a split ring how many buffers were made available, or used, since the beginning.
    func write(available: UInt16? = nil, used: UInt16? = nil, queue index: Int) {
        let base = 0x1000 + UInt64(index) * 0x1_0000
        if let available { memory.store(available, at: base + 0x4002) }
        if let used { memory.store(used, at: base + 0x8002) }
    }

    /// Starts a queue that has been stopped.
    func startQueue(_ index: Int) throws { try frontend.startQueue(try queue(index)) }

    /// Another back-end takes over from one that has ended, or, in an orderly way, from one that works.
    func replace(by other: FakeBackEnd, orderly: Bool = false) throws {
        if orderly { try frontend.handOver(to: try other.socket()) } else { try frontend.recover(try other.socket()) }
    }

    /// Takes all queues back and gives them to the device again, which may fail.
    func sleepAndWake(_ meanwhile: () -> Void) throws {
        let queues = try frontend.sleep()
        meanwhile()
        guard let queues else { return }
        try frontend.wake(Activation(memory: memory, interrupt: Interrupt(interrupts), features: features, queues: queues))
    }

    /// Takes all queues back; where they stood, or nil when the device was not active.
    func sleep() throws -> [QueuePosition]? {
        guard var queues = try frontend.sleep() else { return nil }
        var positions: [QueuePosition] = []
        for index in 0..<queues.count {
            if let queue = queues.take(index) { positions.append(queue.ring.position) }
        }
        return positions
    }

    /// Configuration space as a driver reads it.
    func configuration(at offset: Int = 0, count: Int = 60) -> [UInt8] {
        var bytes = [UInt8](repeating: 0xee, count: count)
        var span = bytes.mutableSpan
        frontend.readConfiguration(at: offset, into: &span)
        return bytes
    }
}
