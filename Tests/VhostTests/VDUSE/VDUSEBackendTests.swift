import Devices
import GuestMemory
import Host
import Synchronization
import Testing
import Virtio
import Virtqueue

@testable import Vhost

/// A device that is served to a fake kernel, and the driver's end of its queue.
private final class Rig {
    /// Where RAM lies for the device.
    static let base: UInt64 = 1 << 32
    static let size: UInt64 = 1 << 20

    let kernel: FakeVDUSE
    let memory: GuestMemory
    let features: Features
    private let stop: EventFD
    private let worker: WorkerThread<Bool>
    private var driver: DriverQueue<GuestMemory>
    private let configuration: QueueConfiguration

    /// An address of RAM, as the device sees it.
    static func address(_ offset: UInt64) -> UInt64 { base + offset }

    init(packed: Bool = false) throws {
        let kernel = try FakeVDUSE()
        self.kernel = kernel
        let memory = try GuestMemory(ranges: [Self.base..<Self.base + Self.size], isShared: true)
        self.memory = memory
        features = packed ? [.version1, .ringPacked] : [.version1]
        var device = EntropyConfiguration(label: "rng")
        device.packedRing = packed
        let entropy = try EntropyDevice(device)
        let stop = try EventFD()
        self.stop = stop
        let complaints = Sink()
        sink = complaints
        let backend = VDUSEBackend(entropy, VDUSEOffer(entropy, configurationSize: 8), kernel) { complaints.add($0) }
        worker = try WorkerThread(name: "vduse", state: true) { _, _ in try? backend.serve(stop: stop) }
        var configuration = QueueConfiguration(maxSize: 64)
        configuration.ready = true
        configuration.descriptorArea = Self.address(0x1000)
        configuration.driverArea = Self.address(0x4000)
        configuration.deviceArea = Self.address(0x8000)
        self.configuration = configuration
        driver = try DriverQueue(configuration, features: features.ring, memory: memory)
        kernel.change { state in
            state.features = self.features.union(.accessPlatform).rawValue
            state.queues = [info()]
            state.mappings = [mapping(0, Self.size)]
        }
    }

    let sink: Sink

    final class Sink: Sendable {
        private let lines = Mutex<[String]>([])
        func add(_ line: String) { lines.withLock { $0.append(line) } }
        var all: [String] { lines.withLock { $0 } }
    }

    deinit {
        stop.signal()
        _ = worker.stop()
    }

    func info(size: UInt32 = 64, position: QueuePosition = .initial, descriptorArea: UInt64? = nil) -> VDUSENode.QueueInfo {
        VDUSENode.QueueInfo(
            size: size, descriptorArea: descriptorArea ?? configuration.descriptorArea, driverArea: configuration.driverArea,
            deviceArea: configuration.deviceArea, position: position, isReady: true)
    }

    /// A part of RAM at its own address.
    func mapping(
        _ offset: UInt64, _ count: UInt64, writable: Bool = true, readable: Bool = true
    ) -> (mapping: VDUSENode.Mapping, file: Int32) {
        let mapping = VDUSENode.Mapping(
            first: Self.address(offset), last: Self.address(offset + count - 1), offset: offset, isReadable: readable, isWritable: writable)
        return (mapping, memory.rawFileDescriptor ?? -1)
    }

    /// What a driver does up to DRIVER_OK; whether the device took it.
    func start() -> Bool {
        for status: UInt8 in [0, 1, 3, 11] where kernel.ask(.status(status))?.succeeded != true { return false }
        return kernel.ask(.status(15))?.succeeded == true
    }

    /// Makes a buffer at `offset` available, of 64 zeros.
    func submit(at offset: UInt64) throws {
        memory.write([UInt8](repeating: 0, count: 64), at: Self.address(offset))
        let buffers = [DriverBuffer(address: Self.address(offset), count: 64)]
        _ = try driver.add(readable: [DriverBuffer]().span, writable: buffers.span)
        _ = driver.publish()
        kernel.ring(0)
    }

    /// Waits for the next used buffer; false: none comes in time.
    func used(milliseconds: Int64 = 60_000) throws -> Bool {
        let deadline = MonotonicTime.now + milliseconds
        while true {
            if try driver.popUsed() != nil { return true }
            if driver.setUsedNotifications(true) { continue }
            guard MonotonicTime.now < deadline else { return false }
            _ = kernel.interrupt.wait(timeoutMilliseconds: 100)
        }
    }

    func bytes(at offset: UInt64) -> [UInt8] { memory.read(at: Self.address(offset), count: 64) ?? [] }

    /// Whether the device fills a buffer.
    func works(at offset: UInt64 = 0x1_0000) throws -> Bool {
        try submit(at: offset)
        return try used() && bytes(at: offset).contains { $0 != 0 }
    }

    /// The driver begins anew.
    func clear() throws {
        memory.write([UInt8](repeating: 0, count: 0xa000), at: Self.address(0))
        driver = try DriverQueue(configuration, features: features.ring, memory: memory)
    }
}

@Suite("A device of ours in the host's kernel")
struct VDUSEBackendTests {
    @Test("what the kernel is shown: ACCESS_PLATFORM, and nothing that VDUSE cannot do")
    func offer() throws {
        let device = try EntropyDevice(EntropyConfiguration(label: "rng"))
        let offer = VDUSEOffer(device, configurationSize: 8)
        #expect(offer.features == device.features.subtracting(.ringReset).union(.accessPlatform))
        #expect(offer.configuration.count == 8)
        #expect(offer.queueSizes == device.queueMaxSizes)
        let image = try makeMemoryFile(name: "disk", size: 1 << 20)
        let disk = try BlockDevice(BlockConfiguration(image: image, label: "disk"))
        #expect(disk.features.contains(Features(bit: 11)))
        #expect(!VDUSEOffer(disk, configurationSize: 60).features.contains(Features(bit: 11)))
    }

    @Test("a driver sets it up, uses it, leaves, and the next one begins anew", arguments: [false, true])
    func life(packed: Bool) throws {
        let rig = try Rig(packed: packed)
        for _ in 0..<2 {
            #expect(rig.start())
            for _ in 0..<100 { #expect(try rig.works()) }
            #expect(rig.kernel.ask(.status(0))?.succeeded == true)
            try rig.clear()
        }
        #expect(rig.sink.all.isEmpty)
    }

    @Test("features that were not offered, or without VERSION_1, are not taken")
    func badFeatures() throws {
        for features in [Features.version1.rawValue | 1 << 50, Features.accessPlatform.rawValue] {
            let rig = try Rig()
            rig.kernel.change { $0.features = features }
            #expect(!rig.start())
            #expect(rig.sink.all.count == 1)
            // It takes better ones.
            rig.kernel.change { $0.features = Features([.version1, .accessPlatform]).rawValue }
            #expect(rig.start())
        }
    }

    @Test("rings that cannot be are not started: too large, of a wrong size, outside all memory, at a place where they cannot stand")
    func badRings() throws {
        let rig = try Rig()
        let bad = [
            rig.info(size: 1 << 20), rig.info(size: 0), rig.info(size: 33), rig.info(descriptorArea: 0x1000),
            rig.info(descriptorArea: Rig.address(0x1008)), rig.info(descriptorArea: .max - 15),
            rig.info(position: QueuePosition(available: 900, used: 0)),
        ]
        for info in bad {
            rig.kernel.change { $0.queues = [info] }
            #expect(!rig.start(), "\(info)")
        }
        rig.kernel.change { $0.queues = [rig.info()] }
        #expect(rig.start())
        #expect(try rig.works())
    }

    @Test("where a queue stands is told while it runs, and it goes on", arguments: [false, true])
    func position(packed: Bool) throws {
        let rig = try Rig(packed: packed)
        #expect(rig.start())
        for _ in 0..<3 { #expect(try rig.works()) }
        #expect(rig.kernel.ask(.queueState(0))?.position == QueuePosition(available: 3, used: 3))
        #expect(try rig.works())
        #expect(rig.kernel.ask(.queueState(7))?.succeeded == false)
        #expect(rig.kernel.ask(.unknown(9))?.succeeded == false)
    }

    @Test("a queue begins where the driver says", arguments: [false, true])
    func continued(packed: Bool) throws {
        let rig = try Rig(packed: packed)
        #expect(rig.start())
        for _ in 0..<5 { #expect(try rig.works()) }
        let position = try #require(rig.kernel.ask(.queueState(0))?.position)
        #expect(rig.kernel.ask(.status(0))?.succeeded == true)
        rig.kernel.change { $0.queues = [rig.info(position: position)] }
        #expect(rig.start())
        #expect(try rig.works())
    }

    @Test("memory that comes without a word is found when it is used")
    func lateMemory() throws {
        let rig = try Rig()
        rig.kernel.change { $0.mappings = [rig.mapping(0, 0x1_0000)] }
        #expect(rig.start())
        rig.kernel.change { $0.mappings.append(rig.mapping(0x2_0000, 0x1_0000)) }
        #expect(try rig.works(at: 0x2_1000))
        #expect(try rig.works(at: 0x2_2000))
        #expect(rig.sink.all.isEmpty)
        // And what nobody has mapped is no memory.
        try rig.submit(at: 0x4_0000)
        #expect(try !rig.used(milliseconds: 300))
        #expect(rig.sink.all.contains { $0.hasPrefix("cannot go on until its driver resets it") })
    }

    @Test("other mappings are taken up while the device works")
    func newMemory() throws {
        let rig = try Rig()
        rig.kernel.change { $0.mappings = [rig.mapping(0, 0x2_0000)] }
        #expect(rig.start())
        #expect(try rig.works(at: 0x1_0000))
        rig.kernel.change { $0.mappings = [rig.mapping(0, 0x1_0000), rig.mapping(0x4_0000, 0x1_0000)] }
        #expect(rig.kernel.ask(.mappings(first: 0, last: .max))?.succeeded == true)
        #expect(try rig.works(at: 0x4_0000))
        try rig.submit(at: 0x1_0000)
        #expect(try !rig.used(milliseconds: 300))
    }

    @Test("a driver that takes all its memory away finds the device standing, and can begin anew")
    func memoryGone() throws {
        let rig = try Rig()
        #expect(rig.start())
        rig.kernel.change { $0.mappings = [] }
        #expect(rig.kernel.ask(.mappings(first: 0, last: .max))?.succeeded == true)
        try rig.submit(at: 0x1_0000)
        #expect(try !rig.used(milliseconds: 200))
        #expect(rig.kernel.ask(.status(0))?.succeeded == true)
        try rig.clear()
        rig.kernel.change { $0.mappings = [rig.mapping(0, Rig.size)] }
        #expect(rig.start())
        #expect(try rig.works())
    }

    @Test("nothing is written to memory that may only be read")
    func readOnly() throws {
        let rig = try Rig()
        rig.kernel.change { $0.mappings = [rig.mapping(0, 0x1_0000), rig.mapping(0x1_0000, 0x1_0000, writable: false)] }
        #expect(rig.start())
        try rig.submit(at: 0x1_0000)
        #expect(try rig.used())
        #expect(rig.bytes(at: 0x1_0000).allSatisfy { $0 == 0 })
    }

    @Test("what cannot be mapped is left out, and told: memory that may not be read, and more than its file has")
    func unmappable() throws {
        let rig = try Rig()
        rig.kernel.change {
            $0.mappings = [
                rig.mapping(0, 0x1_0000), rig.mapping(0x1_0000, 0x1000, readable: false), rig.mapping(0x2_0000, 1 << 30),
                (VDUSENode.Mapping(first: 1 << 50, last: .max, offset: .max, isReadable: true, isWritable: true), $0.mappings[0].file),
            ]
        }
        #expect(rig.start())
        #expect(rig.sink.all.count == 3)
        try rig.submit(at: 0x1_0000)
        #expect(try !rig.used(milliseconds: 300))
    }
}
