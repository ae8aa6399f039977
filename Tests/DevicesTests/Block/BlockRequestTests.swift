import GuestMemory
import Host
import Testing
import Virtio
import Virtqueue

@testable import Devices

@Suite("Block device: requests")
struct BlockRequestTests {
    typealias Variant = BlockHarness.Variant
    typealias Kind = BlockHarness.Kind

    static let size = 1 << 20

    @Test("5.2.6 reads and writes carry sectors, in one buffer or many", arguments: Variant.all)
    func transfers(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        #expect(disk.device.usesURing == (variant.engine != .sync))
        var random = Random(seed: 1)
        for pieces in [1, 3, 30] {
            let bytes = random.bytes(512 * 60)
            let write = try disk.finish(disk.send(Kind.write, sector: 7, output: bytes, pieces: pieces))
            #expect(write.status == BlockHarness.ok)
            #expect(write.written == 1)
            #expect(try disk.stored(at: 7 * 512, count: bytes.count) == bytes)
            let request = try disk.send(Kind.read, sector: 7, input: bytes.count, pieces: pieces)
            let read = try disk.finish(request)
            #expect(read.status == BlockHarness.ok)
            #expect(read.written == UInt32(bytes.count + 1))
            #expect(disk.harness.bytes(at: request.data, count: bytes.count) == bytes)
        }
    }

    @Test("Many requests at once complete, each with its own data", arguments: Variant.all)
    func batches(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        var random = Random(seed: 2)
        for _ in 0..<8 {
            disk.harness.releaseBuffers()
            var model = try disk.stored(at: 0, count: Self.size)
            var requests: [(BlockHarness.Request, Int, [UInt8]?)] = []
            var sectors = Array(0..<Self.size / 4096)
            sectors.shuffle(using: &random)
            for block in sectors.prefix(60) {
                if random.oneIn(2) {
                    let bytes = random.bytes(4096)
                    model.replaceSubrange(block * 4096..<block * 4096 + 4096, with: bytes)
                    requests.append((try disk.send(Kind.write, sector: UInt64(block * 8), output: bytes, kick: false), block, bytes))
                } else {
                    requests.append((try disk.send(Kind.read, sector: UInt64(block * 8), input: 4096, pieces: 2, kick: false), block, nil))
                }
            }
            disk.harness.kick()
            for (request, block, written) in requests {
                #expect(try disk.finish(request).status == BlockHarness.ok)
                guard written == nil else { continue }
                #expect(disk.harness.bytes(at: request.data, count: 4096) == Array(model[block * 4096..<block * 4096 + 4096]))
            }
            #expect(try disk.stored(at: 0, count: Self.size) == model)
        }
    }

    @Test("5.2.6 a flush, and a flush with nothing to do", arguments: Variant.all)
    func flush(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        #expect(try disk.status(Kind.flush) == BlockHarness.ok)
        #expect(try disk.status(Kind.write, output: [UInt8](repeating: 1, count: 512)) == BlockHarness.ok)
        #expect(try disk.status(Kind.flush) == BlockHarness.ok)
    }

    @Test("5.2.6 the device ID string is NUL-padded to 20 bytes", arguments: Variant.all)
    func identity(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        let request = try disk.send(Kind.identity, input: 20)
        let result = try disk.finish(request)
        #expect(result.status == BlockHarness.ok)
        #expect(result.written == 21)
        let expected = Array("serial-0123456789".utf8) + [0, 0, 0]
        #expect(disk.harness.bytes(at: request.data, count: 20) == expected)
        #expect(try disk.status(Kind.identity, input: 19) == BlockHarness.ioError)
    }

    @Test("5.2.6 discard makes holes", arguments: Variant.all)
    func discard(_ variant: Variant) throws {
        let file = try temporaryFile(size: Self.size)
        try file.put([UInt8](repeating: 0xaa, count: Self.size), at: 0)
        let disk = try BlockHarness(variant, file: file)
        try #require(disk.device.features.contains(.blockDiscard))
        let ranges = BlockHarness.range(128, 128) + BlockHarness.range(0, 0) + BlockHarness.range(512, 256)
        #expect(try disk.status(Kind.discard, output: ranges) == BlockHarness.ok)
        #expect(disk.isHole(at: 128 * 512, count: 128 * 512))
        #expect(disk.isHole(at: 512 * 512, count: 256 * 512))
        #expect(!disk.isHole(at: 0, count: 4096))
        let size = try disk.file.status().size
        #expect(size == UInt64(Self.size))
    }

    @Test("5.2.6.2 write zeroes reads as zeros; with unmap it may make holes", arguments: Variant.all, [false, true])
    func writeZeroes(_ variant: Variant, memoryFile: Bool) throws {
        // A memfd lacks FALLOC_FL_ZERO_RANGE, so zeros have to be written.
        let file = memoryFile ? try makeMemoryFile(name: "disk", size: UInt64(Self.size) * 4) : try temporaryFile(size: Self.size * 4)
        try file.put([UInt8](repeating: 0xaa, count: Self.size * 4), at: 0)
        let disk = try BlockHarness(variant, file: file)
        let ranges = BlockHarness.range(1, 4099) + BlockHarness.range(4352, 256, flags: 1)
        #expect(try disk.status(Kind.writeZeroes, output: ranges) == BlockHarness.ok)
        let bytes = try disk.stored(at: 0, count: Self.size * 4)
        #expect(bytes[..<512].allSatisfy { $0 == 0xaa })
        #expect(Array(bytes[512..<4100 * 512]) == [UInt8](repeating: 0, count: 4099 * 512))
        #expect(bytes[4100 * 512..<4352 * 512].allSatisfy { $0 == 0xaa })
        #expect(bytes[4352 * 512..<4608 * 512].allSatisfy { $0 == 0 })
        #expect(bytes[(4608 * 512)...].allSatisfy { $0 == 0xaa })
        #expect(disk.isHole(at: 4352 * 512, count: 256 * 512))
    }

    @Test("5.2.6.2 unknown flags, and unmap in a discard, are unsupported", arguments: Variant.all)
    func flags(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        #expect(try disk.status(Kind.discard, output: BlockHarness.range(0, 8, flags: 1)) == BlockHarness.unsupported)
        #expect(try disk.status(Kind.discard, output: BlockHarness.range(0, 8, flags: 2)) == BlockHarness.unsupported)
        #expect(try disk.status(Kind.writeZeroes, output: BlockHarness.range(0, 8, flags: 2)) == BlockHarness.unsupported)
        let late = BlockHarness.range(1 << 60, 8) + BlockHarness.range(0, 8, flags: 0x8000_0000)
        #expect(try disk.status(Kind.writeZeroes, output: late) == BlockHarness.unsupported)
    }

    @Test("5.2.6.1 what a driver must not send gets VIRTIO_BLK_S_IOERR", arguments: Variant.all)
    func driverErrors(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        let sectors = UInt64(Self.size / 512)
        let block = [UInt8](repeating: 1, count: 512)
        for sector in [sectors, sectors + 1, 1 << 55, UInt64.max / 512, UInt64.max] {
            #expect(try disk.status(Kind.read, sector: sector, input: 512) == BlockHarness.ioError)
            #expect(try disk.status(Kind.write, sector: sector, output: block) == BlockHarness.ioError)
            #expect(try disk.status(Kind.discard, output: BlockHarness.range(sector, 1)) == BlockHarness.ioError)
        }
        #expect(try disk.status(Kind.read, sector: sectors - 1, input: 1024) == BlockHarness.ioError)
        #expect(try disk.status(Kind.read, sector: 0, input: 511) == BlockHarness.ioError)
        #expect(try disk.status(Kind.write, sector: 0, output: [1, 2, 3]) == BlockHarness.ioError)
        #expect(try disk.status(Kind.discard, output: [1, 2, 3]) == BlockHarness.ioError)
        #expect(try disk.status(Kind.discard) == BlockHarness.ioError)
        #expect(try disk.status(Kind.discard, output: BlockHarness.range(0, .max)) == BlockHarness.ioError)
        let many = (0..<17).flatMap { _ in BlockHarness.range(0, 8) }
        #expect(try disk.status(Kind.writeZeroes, output: many) == BlockHarness.ioError)
        #expect(try disk.stored(at: 0, count: Self.size) == [UInt8](repeating: 0, count: Self.size))
        #expect(!disk.harness.interrupts.needsReset)
    }

    @Test("5.2.6.2 unknown requests, zone requests and those not negotiated are unsupported", arguments: Variant.all)
    func unsupported(_ variant: Variant) throws {
        let disk = try BlockHarness(
            variant, file: temporaryFile(size: Self.size), features: { $0.subtracting([.blockDiscard, .blockWriteZeroes]) })
        for type: UInt32 in [2, 3, 5, 10, 11, 13, 14, 15, 16, 18, 26, 99, .max] {
            #expect(try disk.status(type, output: BlockHarness.range(0, 8)) == BlockHarness.unsupported)
        }
    }

    @Test("A request without header gets VIRTIO_BLK_S_IOERR; one without status cannot be answered", arguments: Variant.all)
    func malformed(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        let status = disk.harness.place([0xff, 0xff])
        let short = disk.harness.place([0, 0, 0, 0])
        let token = try #require(
            try disk.harness.submit(
                readable: [DriverBuffer(address: short, count: 4)], writable: [DriverBuffer(address: status, count: 1)]))
        #expect(try disk.harness.wait(token) == 1)
        #expect(disk.harness.bytes(at: status, count: 1) == [BlockHarness.ioError])
        let only = try #require(try disk.harness.submit(writable: [DriverBuffer(address: status, count: 2)]))
        #expect(try disk.harness.wait(only) == 2)
        #expect(disk.harness.bytes(at: status, count: 2) == [0, BlockHarness.ioError])
        #expect(!disk.harness.interrupts.needsReset)
        let header = disk.harness.place(BlockHarness.header(Kind.write, sector: 0))
        _ = try disk.harness.submit(readable: [DriverBuffer(address: header, count: 16)])
        try disk.harness.waitForNeedsReset()
        try disk.harness.reset()
        try disk.harness.activate()
        #expect(try disk.status(Kind.flush) == BlockHarness.ok)
    }

    @Test("5.2.6.2 a read-only device refuses every write and writes nothing", arguments: Variant.all)
    func readOnly(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size), configure: { $0.readOnly = true })
        #expect(disk.device.features.contains(.blockReadOnly))
        #expect(disk.device.features.isDisjoint(with: [.blockDiscard, .blockWriteZeroes, .blockConfigWCE]))
        #expect(try disk.status(Kind.write, output: [UInt8](repeating: 1, count: 512)) == BlockHarness.ioError)
        #expect(try disk.status(Kind.discard, output: BlockHarness.range(0, 8)) == BlockHarness.unsupported)
        #expect(try disk.status(Kind.flush) == BlockHarness.ok)
        #expect(try disk.read(sector: 0, count: 4096) == [UInt8](repeating: 0, count: 4096))
    }

    @Test("An image that is cut short beneath us: the missing part is an I/O error, reads give no stale bytes", arguments: Variant.all)
    func truncated(_ variant: Variant) throws {
        let file = try temporaryFile(size: Self.size)
        try file.put([UInt8](repeating: 0xaa, count: Self.size), at: 0)
        let disk = try BlockHarness(variant, file: file)
        try disk.file.resize(to: UInt64(Self.size / 2))
        let request = try disk.send(Kind.read, sector: UInt64(Self.size / 1024 - 1), input: 2048, pieces: 2)
        disk.harness.memory.write([UInt8](repeating: 0x55, count: 2048), at: request.data)
        let result = try disk.finish(request)
        #expect(result.status == BlockHarness.ioError)
        #expect(result.written == 2049)
        #expect(try disk.read(sector: 0, count: 512) == [UInt8](repeating: 0xaa, count: 512))
    }

    @Test("A write that the host does in part and then refuses is an I/O error", arguments: Variant.all)
    func partialWrite(_ variant: Variant) throws {
        let file = try makeMemoryFile(name: "disk", size: UInt64(Self.size))
        let disk = try BlockHarness(variant, file: file)
        // What lies behind the new end can be neither written nor made: the memory file may not grow any more.
        try disk.file.resize(to: UInt64(Self.size / 2))
        try disk.file.seal()
        let bytes = [UInt8](repeating: 7, count: 16384)
        let sector = UInt64(Self.size / 1024 - 16)
        #expect(try disk.status(Kind.write, sector: sector, output: bytes, pieces: 4) == BlockHarness.ioError)
        #expect(try disk.status(Kind.writeZeroes, output: BlockHarness.range(sector + 16, 8)) == BlockHarness.ioError)
        #expect(try disk.status(Kind.write, sector: sector - 32, output: bytes) == BlockHarness.ok)
        #expect(!disk.harness.interrupts.needsReset)
    }
}
