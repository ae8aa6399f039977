import Glibc
import GuestMemory
import Host
import Testing
import Virtio
import Virtqueue

@testable import Devices

@Suite("Block device: features and configuration space")
struct BlockPersonalityTests {
    typealias Variant = BlockHarness.Variant
    typealias Kind = BlockHarness.Kind

    static let size = 1 << 20

    @Test("5.2.4 configuration space")
    func layout() throws {
        let disk = try BlockHarness(Variant.all[0], file: temporaryFile(size: Self.size), configure: { $0.queues = 4 })
        let harness = disk.harness
        #expect(harness.configuration(at: 0, as: UInt64.self) == UInt64(Self.size / 512))
        #expect(harness.configuration(at: 8, as: UInt32.self) == 0, "size_max")
        #expect(harness.configuration(at: 12, as: UInt32.self) == 126, "seg_max")
        #expect(harness.configuration(at: 16, as: UInt32.self) == 0, "geometry")
        #expect(harness.configuration(at: 20, as: UInt32.self) == 512, "blk_size")
        #expect(harness.configuration(at: 24, as: UInt8.self) == 3, "physical_block_exp of 4096")
        #expect(harness.configuration(at: 25, as: UInt8.self) == 0, "alignment_offset")
        #expect(harness.configuration(at: 26, as: UInt16.self) == 8, "min_io_size")
        #expect(harness.configuration(at: 28, as: UInt32.self) == 0, "opt_io_size")
        #expect(harness.configuration(at: 32, as: UInt8.self) == 1, "writeback")
        #expect(harness.configuration(at: 33, as: UInt8.self) == 0, "unused0")
        #expect(harness.configuration(at: 34, as: UInt16.self) == 4, "num_queues")
        #expect(harness.configuration(at: 36, as: UInt32.self) == 1 << 22, "max_discard_sectors")
        #expect(harness.configuration(at: 40, as: UInt32.self) == 16, "max_discard_seg")
        #expect(harness.configuration(at: 44, as: UInt32.self) == 8, "discard_sector_alignment")
        #expect(harness.configuration(at: 48, as: UInt32.self) == 1 << 18, "max_write_zeroes_sectors")
        #expect(harness.configuration(at: 52, as: UInt32.self) == 16, "max_write_zeroes_seg")
        #expect(harness.configuration(at: 56, as: UInt32.self) == 1, "write_zeroes_may_unmap, unused1")
        for offset in [57, 60, 61, 4096, Int.max, Int.max - 3, -9, Int.min] {
            #expect(harness.configuration(at: offset, as: UInt64.self) == 0)
        }
        // A read that begins before the end goes on with zeros.
        #expect(harness.configuration(at: 56, as: UInt64.self) == 1)
        #expect(harness.configuration(at: 4, as: UInt64.self) == 0)
    }

    @Test("5.2.3 features follow from the configuration")
    func features() throws {
        let file = try temporaryFile(size: Self.size)
        let one = try BlockHarness.makeDevice(Variant.all[0], file).features
        #expect(one.isSuperset(of: [.ours, .ringPacked, .blockFlush, .blockConfigWCE, .blockDiscard, .blockWriteZeroes, .blockSegmentMax]))
        #expect(one.isDisjoint(with: [.blockMultiQueue, .blockReadOnly]))
        let other = try BlockHarness.makeDevice(Variant.all[0], file) {
            $0.queues = 2
            $0.discard = false
            $0.packedRing = false
        }
        #expect(other.features.contains(.blockMultiQueue))
        #expect(other.features.isDisjoint(with: [.blockDiscard, .ringPacked]))
        #expect(other.queueMaxSizes == [256, 256])
        #expect(other.deviceType == .block && other.debugLabel == "disk" && other.keepDescriptors.count == 1)
    }

    @Test("5.2.5.2 without FLUSH the device is writethrough; 5.2.6.1 writeback can be switched only with CONFIG_WCE")
    func cacheMode() throws {
        func writeback(_ features: (Features) -> Features, writing value: UInt8? = nil) throws -> UInt8 {
            let disk = try BlockHarness(Variant.all[0], file: temporaryFile(size: Self.size), features: features, activate: false)
            if let value { disk.harness.setConfiguration([value], at: 32) }
            return disk.harness.configuration(at: 32)
        }
        #expect(try writeback({ $0 }) == 1)
        #expect(try writeback({ $0 }, writing: 0) == 0)
        #expect(try writeback({ $0.subtracting(.blockFlush) }) == 0)
        #expect(try writeback({ $0.subtracting(.blockFlush) }, writing: 1) == 1)
        #expect(try writeback({ $0.subtracting(.blockConfigWCE) }, writing: 0) == 1)
        #expect(try writeback({ $0.subtracting([.blockFlush, .blockConfigWCE]) }, writing: 1) == 0)
        let disk = try BlockHarness(Variant.all[0], file: temporaryFile(size: Self.size))
        disk.harness.setConfiguration([0xff, 0xff, 0, 0xff], at: 30)
        #expect(disk.harness.configuration(at: 32, as: UInt8.self) == 0)
        #expect(disk.harness.configuration(at: 0, as: UInt64.self) == UInt64(Self.size / 512))
        disk.harness.setConfiguration([1], at: .max)
        disk.harness.setConfiguration([1], at: .min)
        disk.harness.setConfiguration([], at: 32)
        #expect(disk.harness.configuration(at: 32, as: UInt8.self) == 0)
        #expect(try disk.status(Kind.write, output: [UInt8](repeating: 3, count: 512)) == BlockHarness.ok)
        try disk.harness.reset()
        #expect(disk.harness.configuration(at: 32, as: UInt8.self) == 1)
    }

    @Test("O_DIRECT transfers, aligned or not, see the same data", arguments: Variant.all)
    func direct(_ variant: Variant) throws {
        let path = try DirectoryForTest()
        let name = path.name + "/disk"
        let image = try OwnedDescriptor.open(name, flags: O_RDWR | O_CREAT, mode: 0o600)
        try image.resize(to: UInt64(Self.size))
        let directImage: OwnedDescriptor
        // O_DIRECT, which stands behind _GNU_SOURCE; file systems in memory may refuse it.
        do { directImage = try OwnedDescriptor.open(name, flags: O_RDWR | 0o40000) } catch { return }
        let directNumber = directImage.rawValue
        var handed: OwnedDescriptor? = directImage
        let disk = try BlockHarness(variant, file: image, configure: { $0.directImage = handed.take() })
        #expect(disk.device.keepDescriptors.contains(directNumber))
        var random = Random(seed: 5)
        for alignment: UInt64 in [4096, 512, 16, 1] {
            for (sector, count) in [(0, 4096), (8, 65536), (1, 512), (3, 1024), (7, 4096)] {
                let bytes = random.bytes(count)
                let write = try disk.send(Kind.write, sector: UInt64(sector), output: bytes, pieces: 2, alignment: alignment)
                #expect(try disk.finish(write).status == BlockHarness.ok)
                #expect(try disk.stored(at: sector * 512, count: count) == bytes)
                #expect(try disk.read(sector: UInt64(sector), count: count, pieces: 3, alignment: alignment) == bytes)
            }
        }
        #expect(try disk.status(Kind.writeZeroes, output: BlockHarness.range(1, 30)) == BlockHarness.ok)
        #expect(try disk.read(sector: 0, count: 16384)?[512..<15872].allSatisfy { $0 == 0 } == true)
    }

    @Test("An image that was opened with O_NONBLOCK is read from its storage all the same", arguments: Variant.all)
    func nonBlockingImage(_ variant: Variant) throws {
        let file = try temporaryFile(size: 16 << 20)
        try file.put([UInt8](repeating: 0xaa, count: 16 << 20), at: 0)
        try file.setNonBlocking()
        let disk = try BlockHarness(variant, file: file)
        // Some file systems (9p) would answer io_uring with EAGAIN otherwise.
        let flags = fcntl(disk.file.rawValue, F_GETFL)
        #expect(flags >= 0 && flags & O_NONBLOCK == 0)
        for round in 0..<4 {
            // Nothing in the page cache: the requests have to wait for the storage.
            try disk.file.synchronizeData()
            posix_fadvise(disk.file.rawValue, 0, 0, POSIX_FADV_DONTNEED)
            let requests = try (0..<32).map {
                try disk.send(Kind.read, sector: UInt64(($0 * 4 + round) * 256), input: 4096, kick: $0 == 31)
            }
            for request in requests { #expect(try disk.finish(request).status == BlockHarness.ok) }
        }
    }

    @Test("What no device can be made of is refused with a sentence")
    func configurationErrors() throws {
        let changes: [@Sendable (inout BlockConfiguration) -> Void] = [
            { $0.queues = 0 }, { $0.queues = 17 }, { $0.queueSize = 0 }, { $0.queueSize = 3 }, { $0.queueSize = 2048 },
            { $0.blockSize = 0 },
            { $0.blockSize = 1024 }, { $0.serial = "123456789012345678901" }, { $0.serial = "Gerät" },
        ]
        let file = try temporaryFile(size: Self.size)
        for change in changes {
            #expect(throws: DeviceError.self) { try BlockHarness.makeDevice(Variant.all[0], file, change) }
        }
    }
}

/// A directory that goes, with its one file `disk`, when the test is over.
struct DirectoryForTest: ~Copyable {
    let name: String

    init() throws {
        var template = Array("/tmp/swvmm-test-XXXXXX".utf8CString)
        guard unsafe mkdtemp(&template) != nil else { throw SystemError("mkdtemp", .current) }
        name = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        _ = unsafe unlink(name + "/disk")
        _ = unsafe rmdir(name)
    }
}
