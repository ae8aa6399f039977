import GuestMemory
import Host
import Testing
import Virtio
import Virtqueue

@testable import Devices

@Suite("Block device: hostile drivers")
struct BlockHostilityTests {
    typealias Variant = BlockHarness.Variant

    static let size = 1 << 20

    @Test("Random requests in random pieces never harm the device", arguments: Variant.all)
    func randomRequests(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        let harness = disk.harness
        var random = Random(seed: 3)
        let types: [UInt32] = [0, 0, 1, 1, 4, 8, 11, 13, 13, 14, 77]
        let sectors = UInt64(Self.size / 512)
        for _ in 0..<40 {
            harness.releaseBuffers()
            var tokens: [UInt16] = []
            for _ in 0..<24 {
                let wildSectors: [UInt64] = [sectors, sectors - 1, .max, .max / 512, 1 << 63]
                let sector = random.oneIn(3) ? wildSectors[random.below(5)] : UInt64(random.below(Int(sectors)))
                let type = types[random.below(types.count)]
                var output = BlockHarness.header(type, sector: sector)
                for _ in 0..<random.below(4) {
                    output += BlockHarness.range(
                        random.oneIn(4) ? random.next() : UInt64(random.below(Int(sectors))),
                        random.oneIn(4) ? UInt32(truncatingIfNeeded: random.next()) : UInt32(random.below(64)),
                        flags: random.oneIn(4) ? UInt32(truncatingIfNeeded: random.next()) : UInt32(random.below(2)))
                }
                if random.oneIn(5) { output = Array(output.prefix(random.below(output.count))) }
                if random.oneIn(4) { output += random.bytes(random.below(2000)) }
                let address = harness.place(output)
                var readable: [DriverBuffer] = []
                var position = 0
                while position < output.count, readable.count < 20 {
                    let count = readable.count == 19 ? output.count - position : min(1 + random.below(600), output.count - position)
                    readable.append(DriverBuffer(address: address + UInt64(position), count: UInt32(count)))
                    position += count
                }
                var writable: [DriverBuffer] = []
                for _ in 0..<1 + random.below(4) {
                    let count = random.oneIn(3) ? 512 * (1 + random.below(8)) : 1 + random.below(700)
                    writable.append(DriverBuffer(address: harness.allocate(count), count: UInt32(count)))
                }
                if let token = try harness.submit(readable: readable, writable: writable, kick: false) { tokens.append(token) }
            }
            harness.kick()
            for token in tokens { _ = try harness.wait(token) }
            #expect(!harness.interrupts.needsReset)
        }
        #expect(try disk.status(BlockHarness.Kind.flush) == BlockHarness.ok)
        #expect(try disk.file.status().size == UInt64(Self.size))
    }

    @Test("Rings full of rubbish end in DEVICE_NEEDS_RESET or in nothing, and a reset heals", arguments: Variant.all)
    func rubbishInRings(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        let harness = disk.harness
        var random = Random(seed: 4)
        for _ in 0..<30 {
            let configuration = harness.queueConfiguration(0)
            let areas: [RingArea] = [.descriptor, .driver]
            for area in areas {
                let count = variant.rings.format.byteCount(of: area, size: configuration.size)
                harness.memory.write(random.bytes(count), at: configuration.address(of: area))
            }
            harness.ring()
            try harness.reset()
            harness.releaseBuffers()
            try harness.activate()
            #expect(try disk.status(BlockHarness.Kind.flush) == BlockHarness.ok)
        }
    }

    @Test("A chain that does not lie in memory ends in DEVICE_NEEDS_RESET; requests before it are answered", arguments: Variant.all)
    func bufferOutsideMemory(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        let good = try disk.send(BlockHarness.Kind.read, input: 4096, kick: false)
        _ = try disk.harness.submit(readable: [DriverBuffer(address: 1 << 40, count: 16)])
        try disk.harness.waitForNeedsReset()
        try disk.harness.wait(for: "the request before") { try disk.harness.poll(good.token) != nil }
        #expect(disk.harness.bytes(at: good.status, count: 1) == [BlockHarness.ok])
        // It sleeps and wakes in that state, and processes nothing.
        try disk.harness.sleep()
        try disk.harness.wake()
    }
}
