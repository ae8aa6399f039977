import Host
import Testing
import Virtqueue

@testable import Devices

@Suite("Block device: another back-end takes over")
struct BlockReplacementTests {
    typealias Variant = BlockHarness.Variant
    typealias Kind = BlockHarness.Kind

    static let variants = Variant.all.filter(\.rings.isRemote)

    @Test("Requests in flight are done once, whether the old one hands over or just ends", arguments: variants, [true, false])
    func requests(_ variant: Variant, _ orderly: Bool) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: 4 << 20))
        for round in 0..<6 {
            let fill = (0..<60).map { UInt8(1 + (round * 60 + $0) % 255) }
            let requests = try fill.enumerated().map { index, byte in
                try disk.send(Kind.write, sector: UInt64(index * 8), output: [UInt8](repeating: byte, count: 4096), kick: false)
            }
            disk.harness.kick()
            try disk.harness.replace(with: try BlockHarness.makeDevice(variant, disk.file), orderly: orderly)
            for request in requests { #expect(try disk.finish(request).status == BlockHarness.ok) }
            for (index, byte) in fill.enumerated() {
                #expect(try disk.stored(at: index * 4096, count: 4096) == [UInt8](repeating: byte, count: 4096))
            }
            disk.harness.releaseBuffers()
        }
    }

    @Test("What the driver has set stays", arguments: variants, [true, false])
    func settings(_ variant: Variant, _ orderly: Bool) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: 1 << 20))
        let place = BlockConfigurationSpace.writeback
        #expect(disk.harness.configuration(at: place, as: UInt8.self) == 1)
        disk.harness.setConfiguration([0], at: place)
        #expect(disk.harness.configuration(at: place, as: UInt8.self) == 0)
        try disk.harness.replace(with: try BlockHarness.makeDevice(variant, disk.file), orderly: orderly)
        #expect(disk.harness.configuration(at: place, as: UInt8.self) == 0)
        // And while it sleeps.
        try disk.harness.sleep()
        try disk.harness.replace(with: try BlockHarness.makeDevice(variant, disk.file), orderly: orderly)
        try disk.harness.wake()
        #expect(disk.harness.configuration(at: place, as: UInt8.self) == 0)
        #expect(try disk.status(Kind.flush) == BlockHarness.ok)
    }

    @Test("One that is another disk is refused, and the first goes on", arguments: variants)
    func other(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: 1 << 20))
        let other = try BlockHarness.makeDevice(variant, temporaryFile(size: 2 << 20)) { $0.readOnly = true }
        #expect(throws: (any Error).self) { try disk.harness.replace(with: other, orderly: true) }
        #expect(try disk.status(Kind.write, output: [UInt8](repeating: 7, count: 512)) == BlockHarness.ok)
        #expect(try disk.stored(at: 0, count: 512) == [UInt8](repeating: 7, count: 512))
    }
}
