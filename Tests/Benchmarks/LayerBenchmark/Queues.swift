import Host
import Virtio
import VirtioDriver
import Virtqueue

/// What a read needs besides its data: a header and a status.
struct NullRequest: RequestLayout {
    static var byteCount: Int { 17 }
    init() {}
    init(loadingFrom place: HostRange) { if place.load(at: 16, as: UInt8.self) != 0 { fatalError("no status") } }
    func store(to place: HostRange) {
        place.store(UInt64(0), at: 0)
        place.store(UInt64(0), at: 8)
        place.store(UInt8(0xff), at: 16)
    }
}

/// Memory at one address of the device.
struct Block: QueueMemory, Sendable {
    let iova: UInt64
    let range: HostRange

    func range(at address: UInt64, count: Int) -> HostRange? {
        let offset = address &- iova
        guard count >= 0, offset <= UInt64(range.count), UInt64(count) <= UInt64(range.count) - offset else { return nil }
        return range.slice(from: Int(offset), count: count)
    }

    var tracksWrites: Bool { false }
    func markWritten(_ range: HostRange) {}
}

/// A ring without anything above it, whose requests lie where they always do.
struct RawQueue: ~Copyable {
    private var ring: DriverQueue<Block>
    private let memory: SharedMemory
    private let block: Block
    /// A transport that nobody has resets its device.
    private let transport: LoopbackTransport

    init(_ transport: LoopbackTransport) throws {
        let size: UInt16 = 128
        let (memory, iova) = try transport.allocateQueueMemory(1 << 18)
        let block = Block(iova: iova, range: memory.range)
        var configuration = QueueConfiguration(maxSize: size)
        configuration.descriptorArea = iova
        configuration.driverArea = iova + 0x1000
        configuration.deviceArea = iova + 0x2000
        configuration.ready = true
        let ring = try DriverQueue(
            configuration, features: transport.features.ring, memory: block,
            indirectTables: IndirectTables(address: iova + 0x8000, entries: 16))
        try transport.setUpQueues([configuration])
        self.ring = ring
        self.transport = transport
        self.memory = memory
        self.block = block
    }

    mutating func add(_ count: Int) throws {
        let place = block.iova + 0x2_0000
        for index in 0..<count {
            let base = place + UInt64(index * 4096)
            let readable: InlineArray<1, DriverBuffer> = [DriverBuffer(address: base, count: 16)]
            let writable: InlineArray<2, DriverBuffer> = [
                DriverBuffer(address: base + 64, count: 4000), DriverBuffer(address: base + 32, count: 1),
            ]
            _ = try ring.add(readable: readable.span, writable: writable.span)
        }
        _ = ring.publish()
    }

    mutating func take() throws -> Int {
        var count = 0
        while try ring.popUsed() != nil { count += 1 }
        return count
    }
}
