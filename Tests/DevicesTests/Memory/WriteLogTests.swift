import GuestMemory
import Host
import Testing
import Virtio
import Virtqueue

@testable import Devices

/// The pages that a device writes are noted, wherever it lives: its buffers and the ring, and nothing else.
@Suite("Devices: the log of writes")
struct WriteLogTests {
    typealias Rings = DeviceHarness.Rings
    typealias Kind = BlockHarness.Kind

    private func harness(_ device: any VirtioDevice, _ rings: Rings) throws -> (DeviceHarness, WriteWatch) {
        let harness = try DeviceHarness(device, rings: rings, megabytes: 8, tracksWrites: true)
        try harness.activate()
        return (harness, try WriteWatch(harness))
    }

    /// A buffer that begins in the middle of a page of its own.
    private func buffer(_ harness: DeviceHarness, _ count: Int) -> DriverBuffer {
        let page = harness.allocate((count + 2048 + 4095) & ~4095, alignment: 4096)
        return DriverBuffer(address: page + 2048, count: UInt32(count))
    }

    private func pages(_ buffer: DriverBuffer) -> Set<Int> { WriteWatch.pages(buffer.address, Int(buffer.count)) }

    private func disk(_ engine: BlockSettings.Engine) throws -> BlockDevice {
        let file = try temporaryFile(size: 1 << 20)
        try file.writeAll([UInt8](repeating: 0x5a, count: 1 << 20))
        return try BlockHarness.makeDevice(BlockHarness.Variant(rings: Rings(), engine: engine), file)
    }

    /// A request to a disk, noted from when it is made available.
    private func request(
        _ harness: DeviceHarness, _ watch: WriteWatch, _ type: UInt32, output: Int = 0, input: Int = 0
    ) throws -> Set<Int> {
        let header = DriverBuffer(address: harness.place(BlockHarness.header(type, sector: 8), alignment: 4096), count: 16)
        let data = buffer(harness, max(output + input, 1))
        let status = buffer(harness, 1)
        if output > 0 { harness.memory.write([UInt8](repeating: 0x5a, count: output), at: data.address) }
        try watch.begin()
        let token = try #require(
            try harness.submit(
                readable: [header] + (output > 0 ? [data] : []), writable: (input > 0 ? [data] : []) + [status]))
        _ = try harness.wait(token)
        #expect(harness.bytes(at: status.address, count: 1) == [BlockHarness.ok])
        if input > 0 { #expect(harness.bytes(at: data.address, count: input).allSatisfy { $0 == 0x5a }) }
        return input > 0 ? pages(data).union(pages(status)) : pages(status)
    }

    @Test("Disk: what is read, and the status", arguments: Rings.both, [BlockSettings.Engine.uring, .sync, .auto])
    func block(_ rings: Rings, _ engine: BlockSettings.Engine) throws {
        let (harness, watch) = try harness(try disk(engine), rings)
        for count in [512, 4096, 65536] {
            try watch.expect(try request(harness, watch, Kind.read, input: count), "read \(count)")
            try watch.expect(try request(harness, watch, Kind.write, output: count), "write \(count)")
        }
        try watch.expect(try request(harness, watch, Kind.flush), "flush")
    }

    @Test("Disk: another process that takes its place goes on noting", arguments: Rings.both.filter(\.isRemote), [true, false])
    func replaced(_ rings: Rings, _ orderly: Bool) throws {
        let (harness, watch) = try harness(try disk(.auto), rings)
        for _ in 0..<3 {
            try watch.expect(try request(harness, watch, Kind.read, input: 8192), "read")
            try harness.replace(with: try disk(.auto), orderly: orderly)
        }
        try watch.expect(try request(harness, watch, Kind.read, input: 8192), "read")
    }

    @Test("Disk: what was in flight when its process ended is noted by the next", arguments: Rings.both.filter(\.isRemote), [true, false])
    func inFlight(_ rings: Rings, _ orderly: Bool) throws {
        let (harness, watch) = try harness(try disk(.auto), rings)
        var expected: Set<Int> = []
        let header = harness.place(BlockHarness.header(Kind.read, sector: 0), alignment: 4096)
        try watch.begin()
        var tokens: [UInt16] = []
        for _ in 0..<40 {
            let (data, status) = (buffer(harness, 16384), buffer(harness, 1))
            tokens.append(
                try #require(
                    try harness.submit(readable: [DriverBuffer(address: header, count: 16)], writable: [data, status], kick: false)))
            expected.formUnion(pages(data).union(pages(status)))
        }
        harness.kick()
        try harness.replace(with: try disk(.auto), orderly: orderly)
        for token in tokens { _ = try harness.wait(token) }
        try watch.expect(expected, "all")
    }

    @Test("Entropy source", arguments: Rings.both)
    func entropy(_ rings: Rings) throws {
        var configuration = EntropyConfiguration(label: "rng")
        configuration.packedRing = true
        let (harness, watch) = try harness(try EntropyDevice(configuration), rings)
        for count in [1, 64, 10000] {
            let buffers = [buffer(harness, count), buffer(harness, count)]
            let token = try #require(try harness.submit(writable: buffers))
            #expect(try harness.wait(token) > 0)
            try watch.expect(pages(buffers[0]).union(pages(buffers[1])), "\(count) bytes")
        }
    }

    @Test("Console: input, and nothing for output", arguments: Rings.both)
    func console(_ rings: Rings) throws {
        let pair = try SocketPair()
        let peer = try ConsolePeer(pair.second)
        let device = try ConsoleDevice(ConsoleConfiguration(label: "hvc", packedRing: true), backend: try .stream(pair.first))
        let (harness, watch) = try harness(device, rings)
        for text in ["a", "input"] {
            let bytes = DriverBuffer(address: harness.place(Array(text.utf8), alignment: 4096), count: UInt32(text.utf8.count))
            try watch.begin()
            _ = try harness.wait(queue: 1, try #require(try harness.submit(queue: 1, readable: [bytes])))
            try watch.expect([], "output")
            // Now that it has been used it listens.
            let room = buffer(harness, 64)
            let token = try #require(try harness.submit(queue: 0, writable: [room]))
            try peer.write(text)
            #expect(try harness.wait(queue: 0, token) == UInt32(text.utf8.count))
            try watch.expect(pages(room), "input")
        }
    }

    @Test("Network interface: frames that come, and nothing for those that go", arguments: Rings.both)
    func network(_ rings: Rings) throws {
        var random = Random(seed: 5)
        let (device, peer) = try NetworkHarness.streamDevice()
        let (harness, watch) = try harness(device, rings)
        for count in [60, 1500] {
            // The other buffers stay where they are, unwritten.
            let rooms = (0..<3).map { _ in buffer(harness, 1600) }
            try peer.send(frame: frame(count, &random))
            let tokens = try rooms.map { try #require(try harness.submit(queue: 0, writable: [$0])) }
            #expect(try harness.wait(queue: 0, tokens[0]) == UInt32(12 + count))
            // The device holds the next one already, and gives it back.
            try watch.expect(pages(rooms[0]), orAlso: pages(rooms[1]), "frame of \(count)")
            for index in 1...2 {
                try peer.send(frame: frame(count, &random))
                _ = try harness.wait(queue: 0, tokens[index])
                try watch.expect(pages(rooms[index]), orAlso: index == 1 ? pages(rooms[2]) : [], "frame of \(count), later")
            }
            let sent = frame(count, &random)
            let bytes = DriverBuffer(
                address: harness.place([UInt8](repeating: 0, count: 12) + sent, alignment: 4096), count: UInt32(12 + count))
            try watch.begin()
            _ = try harness.wait(queue: 1, try #require(try harness.submit(queue: 1, readable: [bytes])))
            #expect(try peer.frame() == sent)
            try watch.expect([], "frame sent")
        }
    }
}
