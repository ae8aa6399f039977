import Glibc
import Host
import Schema
import Testing
import Virtio
import Virtqueue

@testable import Devices

/// A block device of the host (such as a loop device) whose contents may be overwritten, named by the environment; without it these tests are
/// skipped.
private let hostBlockDevice = environmentVariable("SWVMM_TEST_BLOCK_DEVICE")

@Suite("Block device over a block device of the host", .enabled(if: hostBlockDevice != nil), .serialized)
struct HostBlockDeviceTests {
    typealias Kind = BlockHarness.Kind

    @Test("Transfers, discard and write zeroes, with and without O_DIRECT", arguments: BlockHarness.Variant.all, [false, true])
    func everything(_ variant: BlockHarness.Variant, direct: Bool) throws {
        let path = try #require(hostBlockDevice)
        let image = try OwnedDescriptor.open(path, flags: O_RDWR)
        let properties = try BlockImage.inspect(image, named: path)
        #expect(properties.isBlockDevice)
        // O_DIRECT, which stands behind _GNU_SOURCE.
        var directImage: OwnedDescriptor? = direct ? try OwnedDescriptor.open(path, flags: O_RDWR | 0o40000) : nil
        let disk = try BlockHarness(variant, file: image, configure: { $0.directImage = directImage.take() })
        #expect(disk.device.capacity == properties.size)
        #expect(disk.device.features.contains(.blockDiscard))
        var random = Random(seed: 6)
        let bytes = random.bytes(65536)
        for alignment: UInt64 in [4096, 512, 1] {
            let write = try disk.send(Kind.write, sector: 64, output: bytes, pieces: 3, alignment: alignment)
            #expect(try disk.finish(write).status == BlockHarness.ok)
            #expect(try disk.read(sector: 64, count: 65536, pieces: 2, alignment: alignment) == bytes)
        }
        #expect(
            try disk.status(Kind.writeZeroes, output: BlockHarness.range(65, 7) + BlockHarness.range(80, 8, flags: 1)) == BlockHarness.ok)
        let read = try #require(try disk.read(sector: 64, count: 65536))
        var expected = bytes
        for sector in [1..<8, 16..<24] {
            expected.replaceSubrange(
                sector.lowerBound * 512..<sector.upperBound * 512, with: Array(repeating: 0, count: sector.count * 512))
        }
        #expect(read == expected)
        #expect(try disk.status(Kind.discard, output: BlockHarness.range(0, 2048)) == BlockHarness.ok)
        #expect(try disk.status(Kind.flush) == BlockHarness.ok)
        #expect(try disk.status(Kind.read, sector: properties.size / 512, input: 512) == BlockHarness.ioError)
        #expect(throws: DeviceError.self) { try disk.device.controlNotify(["capacity": .integer(Int64(properties.size + 512))]) }
    }
}
