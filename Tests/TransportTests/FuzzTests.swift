import Synchronization
import Testing
import Virtio

@testable import Transport

/// A guest that writes anything anywhere. Nothing may trap, and a driver that then behaves must still get a working device.
@Suite struct FuzzTests {
    /// A seeded generator (splitmix64), so that a failure can be repeated.
    struct Seeded: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }

        /// Values that hardware registers stumble over.
        mutating func value() -> UInt64 {
            switch next() % 6 {
            case 0: 0
            case 1: UInt64.max
            case 2: next() % 16
            case 3: 1 << (next() % 64)
            case 4: (next() % 16) * 0x1000
            default: next()
            }
        }
        mutating func width() -> Int { [1, 2, 4, 8][Int(next() % 4)] }
    }

    @Test("Random accesses never trap", arguments: TransportKind.allCases, 0..<8)
    func registers(_ kind: TransportKind, _ seed: Int) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        var random = Seeded(state: UInt64(seed))
        let home = driver.registers
        for step in 0..<6000 {
            // Mostly where registers are; near the beginning of each page.
            let page = (home.upperBound - home.lowerBound) / 0x1000
            let offset = random.next() % page * 0x1000 + random.next() % (random.next() % 3 == 0 ? 0x1000 : 0x120)
            let address = home.lowerBound + min(offset, home.upperBound - home.lowerBound - 8)
            switch random.next() % 12 {
            case 0: driver.start(Features(rawValue: 1 << 32 | (random.next() & 1) << 34 | 1 << 40))
            case 1: rig.device.interrupt?.signalQueue(Int(random.next() % 4) - 1)
            case 2: rig.device.interrupt?.signalConfigurationChange()
            case 3 where step % 50 == 0: rig.device.interrupt?.needsReset()
            case 4: _ = rig.bus.read(at: address, width: random.width())
            case 5: _ = rig.device.process(Int(random.next() % 2))
            case 6: driver.queueReset = UInt32(truncatingIfNeeded: random.value())
            case 7 where step % 100 == 0:
                try rig.hosted?.sleep()
                _ = try rig.hosted?.snapshot()
                try rig.hosted?.wake()
            default: rig.guestWrite(random.value(), at: address, width: random.width())
            }
        }
        driver.start()
        #expect(driver.status == 15)
    }

    @Test("Random configuration space accesses never trap", arguments: 0..<8)
    func configurationSpace(_ seed: Int) throws {
        let rig = try Rig(.pci)
        let driver = PCIRegisterDriver(rig, slot: 1)
        try rig.bus.insert(Placeholder(), at: 0xfec0_0000..<0xfec0_1000)
        let home = UInt32(driver.bar0)
        driver.start()
        var random = Seeded(state: UInt64(seed))
        for _ in 0..<6000 {
            let value = random.value()
            switch random.next() % 4 {
            case 0: rig.bus.write(value, at: Rig.ecam + random.next() % (1 << 20 - 8), width: random.width())
            case 1: rig.ports.write(value, at: 0xcf8 + random.next() % 8, width: random.width())
            case 2: _ = rig.ports.read(at: 0xcf8 + random.next() % 8, width: random.width())
            default: driver.setConfig(UInt32(truncatingIfNeeded: value), Int(random.next() % 256), random.width())
            }
        }
        driver.setConfig(0, 4, 2)
        driver.setConfig(home, 0x10, 4)
        driver.setConfig(2, 4, 2)
        driver.enableMSIX(false)
        driver.start()
        #expect(driver.status == 15)
    }
}
