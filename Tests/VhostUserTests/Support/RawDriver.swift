import GuestMemory
import Host
import Testing
import Virtio
import Virtqueue

@testable import VhostUser

/// A front-end made of single messages, so that a test can leave some out, or send others: RAM, queues, and the usual order of things.
final class RawDriver {
    /// Where the front-end claims to have RAM mapped.
    static let userBase: UInt64 = 0x7f12_3400_0000
    static let ramSize: UInt64 = 1 << 20

    let connection: ServedConnection
    let memory: GuestMemory
    let features: Features
    let queues: [RawQueue]
    private var nextBuffer: UInt64 = 0x8_0000

    /// Sets up rings for `queues` queues; says nothing to the back-end yet.
    init(
        _ connection: ServedConnection, features: Features = [.version1], queues: Int = 1, maxSize: UInt16 = 64, size: UInt16? = nil
    ) throws {
        self.connection = connection
        self.features = features
        let memory = try GuestMemory(ranges: [0..<Self.ramSize], isShared: true)
        self.memory = memory
        self.queues = try (0..<queues).map {
            try RawQueue($0, maxSize: maxSize, size: size ?? maxSize, features: features.ring, memory: memory)
        }
    }

    var peer: RawPeer { connection.peer }
    /// The first queue.
    var queue: RawQueue { queues[0] }
    /// The file that RAM lies in.
    var file: Int32 { memory.rawFileDescriptor ?? -1 }
    /// All of RAM.
    var region: MemoryRegionDescription {
        MemoryRegionDescription(guestAddress: 0, size: Self.ramSize, userAddress: Self.userBase, fileOffset: 0)
    }

    // MARK: Steps

    /// Negotiates everything that is offered of the protocol, and `features`.
    func greet() throws {
        let announcement = ProtocolFeatures.announcement
        guard case .number(let offered) = try peer.ask(.getFeatures), offered & announcement != 0,
            case .number(let wanted) = try peer.ask(.getProtocolFeatures)
        else { throw Timeout("a good offer") }
        try peer.send(.setProtocolFeatures(wanted))
        try peer.send(.setOwner)
        try peer.send(.setFeatures(features.rawValue | announcement))
    }

    /// Says where RAM is.
    func shareMemory() throws { try peer.send(.setMemoryTable([region]), passing: [file]) }

    /// Everything up to running queues.
    func start() throws {
        try greet()
        try shareMemory()
        for queue in queues { try queue.start(on: peer) }
        try synchronize()
    }

    /// Waits until everything that was sent has been handled.
    func synchronize() throws { _ = try peer.ask(.getQueueCount) }

    /// The device status.
    func status() throws -> UInt64 {
        guard case .number(let status) = try peer.ask(.getStatus) else { throw Timeout("a status") }
        return status
    }

    // MARK: Requests

    /// Guest memory that holds `bytes`.
    func place(_ bytes: [UInt8]) -> DriverBuffer {
        defer { nextBuffer += UInt64(bytes.count + 15) & ~15 }
        memory.write(bytes, at: nextBuffer)
        return DriverBuffer(address: nextBuffer, count: UInt32(bytes.count))
    }

    /// Asks an entropy device for bytes.
    func randomBytes() throws -> [UInt8] {
        let buffer = place([UInt8](repeating: 0, count: 64))
        let written = try queue.run(writable: [buffer])
        return memory.read(at: buffer.address, count: Int(written)) ?? []
    }

    /// Whether the entropy device behind the connection works.
    func works() throws -> Bool { try randomBytes().contains { $0 != 0 } }
}

/// A queue of a `RawDriver`: its ring, its events, and the messages that start it.
final class RawQueue {
    let index: UInt32
    let configuration: QueueConfiguration
    let kick: EventFD
    let call: EventFD
    let error: EventFD
    private let features: RingFeatures
    private let memory: GuestMemory
    private var driver: DriverQueue<GuestMemory>

    init(_ index: Int, maxSize: UInt16, size: UInt16, features: RingFeatures, memory: GuestMemory) throws {
        var configuration = QueueConfiguration(maxSize: maxSize)
        configuration.size = size
        configuration.ready = true
        configuration.descriptorArea = 0x1000 + UInt64(index) * 0x1_0000
        configuration.driverArea = configuration.descriptorArea + 0x4000
        configuration.deviceArea = configuration.descriptorArea + 0x8000
        self.index = UInt32(index)
        self.configuration = configuration
        self.features = features
        self.memory = memory
        (kick, call, error) = (try EventFD(), try EventFD(), try EventFD())
        driver = try DriverQueue(configuration, features: features, memory: memory)
    }

    /// The queue as GET_VRING_BASE and its like name it.
    func state(_ value: UInt32 = 0) -> RingState { RingState(index: index, value: value) }

    /// That a descriptor for the queue comes along.
    var present: RingDescriptor { RingDescriptor(index: index, isPresent: true) }

    /// Where the ring lies, as the front-end has it.
    var addresses: RingAddresses {
        let base = RawDriver.userBase
        return RingAddresses(
            index: index, descriptorArea: base + configuration.descriptorArea, deviceArea: base + configuration.deviceArea,
            driverArea: base + configuration.driverArea)
    }

    /// Where a ring stands that has not been used.
    var initialBase: UInt32 { QueuePosition.initial.vringBase(features.format) }

    /// Tells the device all about the queue, and starts it.
    func start(on peer: RawPeer, size: UInt16? = nil, base: UInt32? = nil) throws {
        try peer.send(.setRingSize(state(UInt32(size ?? configuration.size))))
        try peer.send(.setRingBase(state(base ?? initialBase)))
        try peer.send(.setRingAddresses(addresses))
        try peer.send(.setRingCall(present), passing: [call.rawValue])
        try peer.send(.setRingKick(present), passing: [kick.rawValue])
        try peer.send(.setRingEnable(state(1)))
    }

    /// The driver begins anew, with an empty ring.
    func clear() throws { driver = try DriverQueue(configuration, features: features, memory: memory) }

    /// Makes a chain available and rings the doorbell.
    func submit(readable: [DriverBuffer] = [], writable: [DriverBuffer] = []) throws {
        _ = try driver.add(readable: readable.span, writable: writable.span)
        _ = driver.publish()
        kick.signal()
    }

    /// Waits for the next used chain; how many bytes the device wrote.
    func wait() throws -> UInt32 {
        while true {
            if let entry = try driver.popUsed() { return entry.written }
            if driver.setUsedNotifications(true) { continue }
            guard call.wait(timeoutMilliseconds: Timeout.patience) else { throw Timeout("a used buffer") }
        }
    }

    /// One request from beginning to end.
    func run(readable: [DriverBuffer] = [], writable: [DriverBuffer] = []) throws -> UInt32 {
        try submit(readable: readable, writable: writable)
        return try wait()
    }
}
