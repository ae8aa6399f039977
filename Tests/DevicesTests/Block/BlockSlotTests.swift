import Glibc
import GuestMemory
import Host
import Testing
import Virtio
import Virtqueue

@testable import Devices

/// An engine that does nothing but say what the test tells it to, and remembers what it was asked.
private struct ScriptedEngine: BlockEngine, ~Copyable {
    var results: [Int32]
    var asked: [String] = []

    var completionDescriptor: Int32? { nil }

    init(_ results: [Int32]) { self.results = results }

    mutating func start(_ operation: BlockOperation, _ chain: borrowing ChainBuffer, _ backend: BlockBackend, token: UInt64) -> Int32? {
        let step =
            switch operation {
            case .read(let offset): "read \(chain.writableBytes) at \(offset)"
            case .write(let offset): "write \(chain.readableBytes) at \(offset)"
            case .writeZeros(let offset, let count): "zeros \(count) at \(offset)"
            case .allocate(.punchHole, let offset, let count): "hole \(count) at \(offset)"
            case .allocate(.zeroRange, let offset, let count): "zero range \(count) at \(offset)"
            case .discardBlocks(let offset, let count): "discard \(count) at \(offset)"
            case .synchronize: "synchronize"
            }
        asked.append(step)
        return results.isEmpty ? nil : results.removeFirst()
    }

    func waitForCompletion(atMost milliseconds: Int32) {}
    mutating func submit(waitingFor minimum: Int) {}
    var hasCompletion: Bool { false }
    mutating func nextCompletion() -> (token: UInt64, result: Int32)? { nil }
}

@Suite("Block device: the steps of a request")
struct BlockSlotTests {
    typealias Kind = BlockHarness.Kind

    /// Runs one request against scripted results: its status (nil: unfinished when the script ended), and the steps it took.
    private func run(
        _ type: UInt32, output: [UInt8] = [], input: Int = 0, writeback: Bool = true,
        features: Features = [.blockDiscard, .blockWriteZeroes],
        results: [Int32]
    ) throws -> (status: BlockStatus?, steps: [String]) {
        let memory = try GuestMemory(ranges: [0..<1 << 20])
        var configuration = QueueConfiguration(maxSize: 16)
        configuration.descriptorArea = 0
        configuration.driverArea = 0x1000
        configuration.deviceArea = 0x2000
        let ringFeatures = RingFeatures()
        var driver = try DriverQueue(configuration, features: ringFeatures, memory: memory)
        var ring = try GuestQueue(configuration, features: ringFeatures, memory: memory)
        memory.write(BlockHarness.header(type, sector: 2) + output, at: 0x10000)
        let readable = [DriverBuffer(address: 0x10000, count: UInt32(16 + output.count))]
        var writable = [DriverBuffer(address: 0x90000, count: 1)]
        if input > 0 { writable.insert(DriverBuffer(address: 0x80000, count: UInt32(input)), at: 0) }
        _ = try driver.add(readable: readable.span, writable: writable.span)
        _ = driver.publish()

        let file = try makeMemoryFile(name: "disk", size: 4 << 20)
        let properties = try BlockImage.inspect(file, named: "disk")
        let backend = try BlockBackend(
            image: file, directImage: nil, properties: properties, readOnly: false, serial: "", writeback: writeback)
        var slot = BlockSlot(chainCapacity: 16)
        let popped = try slot.pop(&ring)
        try #require(popped)
        var engine = ScriptedEngine(results)
        guard case .run = slot.begin(backend, features) else { return (nil, ["not begun"]) }
        while let result = slot.step(&engine, backend, 0) {
            if let status = slot.finish(result, backend) { return (status, engine.asked) }
        }
        return (nil, engine.asked)
    }

    @Test("A transfer goes on where a short one ended")
    func shortTransfers() throws {
        let read = try run(Kind.read, input: 4096, results: [512, 1000, 2584])
        #expect(read.status == .ok)
        #expect(read.steps == ["read 4096 at 1024", "read 3584 at 1536", "read 2584 at 2536"])
        let write = try run(Kind.write, output: [UInt8](repeating: 1, count: 4096), results: [4095, 1])
        #expect(write.status == .ok)
        #expect(write.steps == ["write 4096 at 1024", "write 1 at 5119"])
    }

    @Test(
        "Failures of the host are VIRTIO_BLK_S_IOERR", arguments: [EIO, ENOSPC, EPERM, EFBIG, EBADF, ENOMEM, EOPNOTSUPP, EINVAL, Int32.max])
    func failures(_ error: Int32) throws {
        #expect(try run(Kind.read, input: 512, results: [-error]).status == .ioError)
        #expect(try run(Kind.write, output: [UInt8](repeating: 1, count: 512), results: [-error]).status == .ioError)
        #expect(try run(Kind.flush, results: [-error]).status == .ioError)
        #expect(try run(Kind.read, input: 1024, results: [512, -error]).status == .ioError)
    }

    @Test("A transfer that ends before its end is VIRTIO_BLK_S_IOERR")
    func endOfFile() throws {
        #expect(try run(Kind.read, input: 1024, results: [512, 0]).status == .ioError)
        #expect(try run(Kind.write, output: [UInt8](repeating: 1, count: 512), results: [0]).status == .ioError)
    }

    @Test("An interrupted step is done again, but not for ever")
    func interrupted() throws {
        #expect(try run(Kind.read, input: 512, results: [-EINTR, -EAGAIN, 512]).status == .ok)
        let endless = try run(Kind.read, input: 512, results: Array(repeating: -EAGAIN, count: 100))
        #expect(endless.status == .ioError)
        #expect(endless.steps.count < 100)
    }

    @Test("5.2.6.2 in writethrough mode a write is stable when it completes: fdatasync comes first")
    func writethrough() throws {
        let block = [UInt8](repeating: 1, count: 512)
        let write = try run(Kind.write, output: block, writeback: false, results: [512, 0])
        #expect(write.status == .ok)
        #expect(write.steps == ["write 512 at 1024", "synchronize"])
        #expect(try run(Kind.write, output: block, writeback: false, results: [512]).status == nil)
        #expect(try run(Kind.write, output: block, writeback: false, results: [512, -EIO]).status == .ioError)
        #expect(try run(Kind.write, output: block, results: [512]).steps == ["write 512 at 1024"])
        let zeros = try run(Kind.writeZeroes, output: BlockHarness.range(0, 1), writeback: false, results: [0, 0])
        #expect(zeros.steps == ["zero range 512 at 0", "synchronize"])
        #expect(try run(Kind.read, input: 512, writeback: false, results: [512]).steps.count == 1)
    }

    @Test("Write zeroes falls back: hole or zero range, then zeros")
    func writeZeroesFallback() throws {
        let kept = try run(Kind.writeZeroes, output: BlockHarness.range(8, 4096), results: [-EOPNOTSUPP, 1 << 20, 1 << 20])
        #expect(kept.status == .ok)
        #expect(kept.steps == ["zero range 2097152 at 4096", "zeros 2097152 at 4096", "zeros 1048576 at 1052672"])
        let unmapped = try run(Kind.writeZeroes, output: BlockHarness.range(8, 8, flags: 1), results: [-EOPNOTSUPP, -EINVAL, 4096])
        #expect(unmapped.status == .ok)
        #expect(unmapped.steps == ["hole 4096 at 4096", "zero range 4096 at 4096", "zeros 4096 at 4096"])
        #expect(try run(Kind.writeZeroes, output: BlockHarness.range(8, 8), results: [-ENOSPC]).status == .ioError)
        #expect(try run(Kind.writeZeroes, output: BlockHarness.range(8, 8), results: [-ENOSYS, -ENOSPC]).status == .ioError)
    }

    @Test("Discard does its ranges one after the other; a host that cannot is VIRTIO_BLK_S_UNSUPP")
    func discard() throws {
        let ranges = BlockHarness.range(0, 8) + BlockHarness.range(3, 0) + BlockHarness.range(64, 1)
        let all = try run(Kind.discard, output: ranges, results: [0, 0])
        #expect(all.status == .ok)
        #expect(all.steps == ["hole 4096 at 0", "hole 512 at 32768"])
        #expect(try run(Kind.discard, output: ranges, results: [0, -EIO]).status == .ioError)
        #expect(try run(Kind.discard, output: ranges, results: [-EOPNOTSUPP]).status == .unsupported)
    }
}
