import Glibc
import Host
import Testing

@testable import Devices

@Suite("Block device: transfers that wait for nothing")
struct PromptTransferTests {
    typealias Kind = BlockHarness.Kind

    static let size = 16 << 20
    /// On both sides of what is done at once.
    static let lengths = [
        512, 4096, PromptTransfers.mostRead, PromptTransfers.mostRead + 512, PromptTransfers.mostWritten, PromptTransfers.mostWritten + 512,
        2 << 20,
    ]

    private func disk(_ rings: DeviceHarness.Rings, inMemory: Bool) throws -> BlockHarness {
        let file = inMemory ? try makeMemoryFile(name: "disk", size: UInt64(Self.size)) : try temporaryFile(size: Self.size)
        return try BlockHarness(BlockHarness.Variant(rings: rings, engine: .auto), file: file)
    }

    @Test("Short and long ones carry their data, alone and together", arguments: DeviceHarness.Rings.both, [true, false])
    func lengths(_ rings: DeviceHarness.Rings, _ inMemory: Bool) throws {
        let disk = try disk(rings, inMemory: inMemory)
        var random = Random(seed: 5)
        for length in Self.lengths {
            let bytes = random.bytes(length)
            #expect(try disk.status(Kind.write, sector: 3, output: bytes, pieces: 3) == BlockHarness.ok)
            #expect(try disk.stored(at: 3 * 512, count: length) == bytes)
            #expect(try disk.read(sector: 3, count: length, pieces: 3) == bytes)
            disk.harness.releaseBuffers()
        }
        var sector: UInt64 = 0
        var writes: [(request: BlockHarness.Request, sector: UInt64, bytes: [UInt8])] = []
        for length in Self.lengths {
            let bytes = random.bytes(length)
            writes.append((try disk.send(Kind.write, sector: sector, output: bytes, kick: false), sector, bytes))
            sector += UInt64(length / 512)
        }
        disk.harness.kick()
        for write in writes { #expect(try disk.finish(write.request).status == BlockHarness.ok) }
        #expect(try disk.status(Kind.flush) == BlockHarness.ok)
        let reads = try writes.map { try disk.send(Kind.read, sector: $0.sector, input: $0.bytes.count, kick: false) }
        disk.harness.kick()
        for (read, write) in zip(reads, writes) {
            #expect(try disk.finish(read).status == BlockHarness.ok)
            #expect(disk.harness.bytes(at: read.data, count: read.dataCount) == write.bytes)
        }
    }

    @Test("What is not in the page cache comes from the storage", arguments: DeviceHarness.Rings.both)
    func storage(_ rings: DeviceHarness.Rings) throws {
        let disk = try disk(rings, inMemory: false)
        var random = Random(seed: 6)
        let bytes = random.bytes(1 << 20)
        #expect(try disk.status(Kind.write, output: bytes) == BlockHarness.ok)
        #expect(try disk.status(Kind.flush) == BlockHarness.ok)
        for _ in 0..<4 {
            disk.harness.releaseBuffers()
            // Half of it goes, so that some transfers wait and some do not, or do so in part.
            #expect(posix_fadvise(disk.file.rawValue, 0, 512 << 10, Int32(POSIX_FADV_DONTNEED)) == 0)
            let places = (0..<60).map { _ in Int.random(in: 0...240, using: &random) }
            let reads = try places.map { try disk.send(Kind.read, sector: UInt64($0 * 8), input: 16384, pieces: 2, kick: false) }
            disk.harness.kick()
            for (read, place) in zip(reads, places) {
                #expect(try disk.finish(read).status == BlockHarness.ok)
                #expect(disk.harness.bytes(at: read.data, count: 16384) == Array(bytes[place * 4096..<place * 4096 + 16384]))
            }
        }
    }
}
