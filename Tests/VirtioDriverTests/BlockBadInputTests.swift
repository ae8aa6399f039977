import Devices
import DriverSupport
import Host
import Testing
import Virtio
import Virtqueue

@testable import VirtioDriver

@Suite("What a block driver refuses")
struct BlockBadInputTests {
    private static let disk = UInt64(TestDisk.size)

    @Test("requests that no device should get, and after which the queue works as before", arguments: Terms.all)
    func requests(_ terms: Terms) throws {
        let disk = try TestDisk(.loopback, terms)
        let driver = try BlockDriver(disk.transport, queueSize: 8)
        let memory = try driver.makeMemory(byteCount: 1 << 16)
        let foreign = try SharedMemory(byteCount: 4096)
        var queue = try driver.takeQueue()
        func buffer(_ count: Int) -> HostRange { memory.range.slice(from: 0, count: count) }

        #expect(throws: DriverError.noData) { try queue.read(at: 0, into: buffer(0), context: 0) }
        #expect(throws: DriverError.noData) { try queue.write(at: 0, from: [], context: 0) }
        #expect(throws: DriverError.unaligned(511, to: 512)) { try queue.read(at: 511, into: buffer(512), context: 0) }
        #expect(throws: DriverError.unaligned(513, to: 512)) { try queue.write(at: 0, from: buffer(513), context: 0) }
        let end = DriverError.beyondEnd(offset: Self.disk - 512, count: 1024, capacity: Self.disk)
        #expect(throws: end) { try queue.read(at: Self.disk - 512, into: buffer(1024), context: 0) }
        #expect(throws: DriverError.self) { try queue.read(at: .max - 511, into: buffer(1024), context: 0) }
        #expect(throws: DriverError.notMapped) { try queue.read(at: 0, into: foreign.range, context: 0) }
        #expect(throws: DriverError.notMapped) { try queue.read(at: 0, into: [buffer(512), foreign.range], context: 0) }
        #expect(throws: DriverError.noData) { try queue.read(at: 0, into: [buffer(512), buffer(0)], context: 0) }
        #expect(throws: DriverError.noData) { try queue.discard(at: 0, count: 0, context: 0) }
        #expect(throws: DriverError.unaligned(100, to: 512)) { try queue.writeZeroes(at: 0, count: 100, context: 0) }
        // A chain has no more buffers than the queue has descriptors (virtio 1.3, 2.7.5.3.1, 2.8.6.1).
        let nine = Array(repeating: buffer(512), count: 7)
        #expect(throws: DriverError.self) { try queue.read(at: 0, into: nine, context: 0) }
        #expect(queue.inFlight == 0)
        try queue.write(at: 0, from: buffer(4096))
    }

    @Test("a full queue takes no more, and works again when completions were taken", arguments: Terms.all)
    func full(_ terms: Terms) throws {
        let disk = try TestDisk(.loopback, terms)
        let driver = try BlockDriver(disk.transport, queueSize: 16)
        let memory = try driver.makeMemory(byteCount: 1 << 16)
        var queue = try driver.takeQueue()
        var added = 0
        #expect(throws: DriverError.queueFull) {
            for index in 0..<17 {
                try queue.read(at: 0, into: memory.range.slice(from: 512 * index, count: 512), context: UInt64(index))
                added += 1
            }
        }
        #expect(added == (terms.indirect ? 16 : 5))
        queue.submit()
        while queue.inFlight > 0 {
            #expect(try queue.wait(milliseconds: 10_000))
            while try queue.nextCompletion() != nil {}
        }
        try queue.read(at: 0, into: memory.range.slice(from: 0, count: 512))
    }

    @Test("writes to a read-only disk are refused before the device sees them", arguments: Reach.allCases)
    func readOnly(_ reach: Reach) throws {
        guard reach != .storageDaemon || StorageDaemon.isHere else { return }
        let disk = try TestDisk(reach, readOnly: true)
        let driver = try BlockDriver(disk.transport)
        let memory = try driver.makeMemory(byteCount: 4096)
        var queue = try driver.takeQueue()
        #expect(throws: DriverError.readOnly) { try queue.write(at: 0, from: memory.range) }
        try queue.read(at: 0, into: memory.range)
    }

    @Test("what was not negotiated is not asked for")
    func features() throws {
        let disk = try TestDisk(.loopback)
        let file = try temporaryFile(size: TestDisk.size)
        let device = try BlockDevice(BlockConfiguration(image: file, label: "disk"))
        let transport = try LoopbackTransport(device, wanted: [.version1])
        let driver = try BlockDriver(transport)
        var queue = try driver.takeQueue()
        #expect(throws: DriverError.notNegotiated("VIRTIO_BLK_F_FLUSH")) { try queue.flush() }
        #expect(throws: DriverError.notNegotiated("VIRTIO_BLK_F_DISCARD")) { try queue.discard(at: 0, count: 512) }
        #expect(throws: DriverError.notNegotiated("VIRTIO_BLK_F_WRITE_ZEROES")) { try queue.writeZeroes(at: 0, count: 512) }
        #expect(try driver.information().discardBytes == 0)
        _ = disk
    }

    @Test("a device of another kind, a queue that is too large, queues twice, a queue twice, memory twice")
    func setUp() throws {
        let entropy = try LoopbackTransport(try EntropyDevice(EntropyConfiguration(label: "rng")), wanted: BlockDriver.features)
        #expect(throws: DriverError.refused("The device is a rng device, not a block device.")) { try BlockDriver(entropy) }
        let disk = try TestDisk(.loopback)
        #expect(throws: DriverError.noSuchQueue(1)) { try BlockDriver(disk.transport, queues: 2) }
        #expect(throws: DriverError.self) { try BlockDriver(disk.transport, queueSize: 100) }
        let driver = try BlockDriver(disk.transport)
        #expect(throws: DriverError.self) { try BlockDriver(disk.transport) }
        _ = try driver.takeQueue().size
        #expect(throws: DriverError.noSuchQueue(0)) { _ = try driver.takeQueue().size }
        #expect(throws: DriverError.noSuchQueue(1)) { _ = try driver.takeQueue(1).size }
        let memory = try driver.makeMemory(byteCount: 1)
        #expect(memory.count == 4096)
        #expect(throws: DriverError.alreadyMapped) { _ = try disk.transport.map(memory) }
        try disk.transport.unmap(memory)
        #expect(throws: DriverError.notMapped) { try disk.transport.unmap(memory) }
    }

    @Test("a device that claims more than can be addressed has as much as can be")
    func claims() {
        let fields = BlockInformation(ConfigurationFields([UInt8](repeating: 0xff, count: BlockInformation.byteCount)))
        #expect(fields.capacity == 1 << 62)
        // The end of any part of it can be computed.
        #expect(!fields.capacity.addingReportingOverflow(1 << 30).overflow)
    }

    @Test("a socket with nobody behind it, and one with somebody who is silent")
    func nobody() throws {
        let silent = try SocketPair()
        let gone = try SocketPair()
        let (end, lonely) = (Slot(try silent.first.duplicate()), Slot(try gone.first.duplicate()))
        _ = consume gone
        #expect(throws: DriverError.self) { try Self.greet(lonely) }
        #expect(throws: DriverError.gone("The peer does not answer, asked for GET_FEATURES.")) { try Self.greet(end) }
    }

    private static func greet(_ slot: Slot<OwnedDescriptor>) throws {
        if let socket = slot.take() { _ = try VhostUserTransport(socket, wanted: BlockDriver.features, patience: 50) }
    }

    @Test("a disk that grows: the driver learns of it, and uses what there is", arguments: [Reach.loopback, .service])
    func grows(_ reach: Reach) throws {
        let disk = try TestDisk(reach)
        let driver = try BlockDriver(disk.transport)
        #expect(try driver.information().capacity == Self.disk)
        try disk.grow(to: 2 * TestDisk.size)
        #expect(disk.transport.changeEvent.wait(timeoutMilliseconds: 10_000))
        #expect(try driver.information().capacity == 2 * Self.disk)
        let memory = try driver.makeMemory(byteCount: 4096)
        var queue = try driver.takeQueue()
        try queue.write(at: Self.disk, from: memory.range)
    }

    @Test(
        "a back-end that goes in the middle: the driver hears of it, and what was in flight has no answer",
        arguments: [Reach.service, .storageDaemon])
    func vanishes(_ reach: Reach) throws {
        guard reach != .storageDaemon || StorageDaemon.isHere else { return }
        let disk = try TestDisk(reach)
        let driver = try BlockDriver(disk.transport)
        let memory = try driver.makeMemory(byteCount: 4096)
        var queue = try driver.takeQueue()
        try queue.write(at: 0, from: memory.range)
        try disk.vanish()
        try queue.read(at: 0, into: memory.range, context: 5)
        queue.submit()
        #expect(throws: DriverError.gone("The back-end has left.")) { _ = try queue.wait(milliseconds: 10_000) }
        #expect(queue.abandon() == [5])
        #expect(queue.inFlight == 0)
    }
}
