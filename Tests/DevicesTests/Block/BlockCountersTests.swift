import Glibc
import Host
import Testing
import Virtio
import Virtqueue

@testable import Devices

@Suite("Block device: counters")
struct BlockCountersTests {
    typealias Variant = BlockHarness.Variant
    typealias Kind = BlockHarness.Kind

    static let size = 1 << 20

    /// What the device should say; everything that is not named is 0.
    private func counts(_ values: [String: UInt64] = [:]) -> [String: UInt64] {
        let names = ["reads", "writes", "flushes", "discards", "writeZeroes", "bytesRead", "bytesWritten", "errors"]
        return Dictionary(uniqueKeysWithValues: names.map { ($0, 0) }).merging(values) { $1 }
    }

    @Test("A request that succeeds counts once under its kind, with its bytes; the device ID does not count", arguments: Variant.all)
    func successes(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        try #require(disk.device.features.contains(.blockDiscard))
        #expect(disk.device.counters == counts())
        let bytes = [UInt8](repeating: 7, count: 512 * 60)
        #expect(try disk.status(Kind.write, sector: 7, output: bytes, pieces: 3) == BlockHarness.ok)
        #expect(disk.device.counters == counts(["writes": 1, "bytesWritten": 30720]))
        #expect(try disk.status(Kind.read, sector: 7, input: bytes.count, pieces: 30) == BlockHarness.ok)
        #expect(try disk.status(Kind.read, input: 512) == BlockHarness.ok)
        #expect(try disk.status(Kind.read) == BlockHarness.ok)
        for _ in 0..<2 { #expect(try disk.status(Kind.flush) == BlockHarness.ok) }
        #expect(try disk.status(Kind.identity, input: 20) == BlockHarness.ok)
        let ranges = BlockHarness.range(0, 8) + BlockHarness.range(64, 8)
        #expect(try disk.status(Kind.discard, output: ranges) == BlockHarness.ok)
        for _ in 0..<3 { #expect(try disk.status(Kind.writeZeroes, output: ranges) == BlockHarness.ok) }
        let expected = counts([
            "reads": 3, "writes": 1, "flushes": 2, "discards": 1, "writeZeroes": 3, "bytesRead": 31232, "bytesWritten": 30720,
        ])
        #expect(disk.device.counters == expected)
    }

    @Test("A request that the device refuses is an error and nothing else", arguments: Variant.all)
    func refusals(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        #expect(try disk.status(Kind.read, sector: 1 << 40, input: 512) == BlockHarness.ioError)
        #expect(try disk.status(Kind.write, output: [1, 2, 3]) == BlockHarness.ioError)
        #expect(try disk.status(Kind.identity, input: 19) == BlockHarness.ioError)
        #expect(try disk.status(77) == BlockHarness.unsupported)
        #expect(try disk.status(Kind.discard, output: BlockHarness.range(0, 8, flags: 1)) == BlockHarness.unsupported)
        #expect(disk.device.counters == counts(["errors": 5]))
    }

    @Test("A step that fails on the host makes an error, whatever was moved before it", arguments: Variant.all)
    func failingHost(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: makeMemoryFile(name: "disk", size: UInt64(Self.size)))
        // Somebody cuts the image short: the first half of this read is there, the other is not.
        try disk.file.resize(to: 4096)
        #expect(try disk.status(Kind.read, input: 8192) == BlockHarness.ioError)
        #expect(try disk.status(Kind.read, input: 4096) == BlockHarness.ok)
        // And nobody may write to it any more: F_ADD_SEALS with F_SEAL_WRITE, which Swift does not see.
        try #require(fcntl(disk.file.rawValue, 1033, 8) == 0)
        #expect(try disk.status(Kind.write, output: [UInt8](repeating: 1, count: 512)) == BlockHarness.ioError)
        #expect(try disk.status(Kind.writeZeroes, output: BlockHarness.range(0, 1)) == BlockHarness.ioError)
        #expect(disk.device.counters == counts(["reads": 1, "bytesRead": 4096, "errors": 3]))
    }

    @Test("A write that is made stable at once counts as a write, not as a flush", arguments: Variant.all)
    func writethrough(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        disk.harness.setConfiguration([0], at: 32)
        #expect(try disk.status(Kind.write, output: [UInt8](repeating: 1, count: 512)) == BlockHarness.ok)
        #expect(disk.device.counters == counts(["writes": 1, "bytesWritten": 512]))
    }

    @Test("Sleep, reset and queue reset keep the counters, and no request counts twice", arguments: Variant.all)
    func lifecycle(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        let requests = try (0..<60).map { try disk.send(Kind.read, sector: UInt64($0), input: 512, kick: $0 == 59) }
        try disk.harness.sleep()
        try disk.harness.wake()
        for request in requests { #expect(try disk.finish(request).status == BlockHarness.ok) }
        #expect(disk.device.counters == counts(["reads": 60, "bytesRead": 60 * 512]))
        try disk.harness.reset()
        disk.harness.releaseBuffers()
        try disk.harness.activate()
        #expect(try disk.harness.stopQueue(0))
        try disk.harness.startQueue(0)
        #expect(try disk.status(Kind.flush) == BlockHarness.ok)
        #expect(disk.device.counters == counts(["reads": 60, "bytesRead": 60 * 512, "flushes": 1]))
    }

    @Test("The queues of all workers add up; whoever reads meanwhile sees numbers grow", arguments: Variant.all, [1, 2, 3])
    func workers(_ variant: Variant, workers: Int) throws {
        let disk = try BlockHarness(
            variant, file: temporaryFile(size: Self.size),
            configure: {
                $0.queues = 3
                $0.workers = workers
            })
        #expect(disk.device.counterBlocks.count == workers)
        let watch = try CounterWatch(disk.device)
        var reads: UInt64 = 0
        while reads < 600 || watch.changes < 5 {
            disk.harness.releaseBuffers()
            let requests = try (0..<60).map { try disk.send(Kind.read, sector: UInt64($0), input: 512, queue: $0 % 3) }
            for request in requests { #expect(try disk.finish(request).status == BlockHarness.ok) }
            reads += 60
        }
        #expect(watch.finish() == 0)
        #expect(disk.device.counters == counts(["reads": reads, "bytesRead": reads * 512]))
        // Each worker has counted in its own block.
        for (index, block) in disk.device.counterBlocks.enumerated() {
            let queues = (0..<3).count { $0 % workers == index }
            #expect(block.reads.value == reads / 3 * UInt64(queues))
        }
    }
}
