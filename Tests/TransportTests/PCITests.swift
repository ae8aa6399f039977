import Hypervisor
import Testing
import Virtio
import Virtqueue

@testable import Transport

/// Configuration space, BARs and the structures of virtio-pci.
@Suite struct PCITests {
    private func make(_ device: EchoDevice = EchoDevice(), slot: Int = 1) throws -> (Rig, PCIRegisterDriver) {
        let rig = try Rig(.pci, device: device, slot: slot)
        return (rig, PCIRegisterDriver(rig, slot: slot))
    }

    @Test("4.1.2.1: identity of the function and of the host bridge")
    func identity() throws {
        let (rig, driver) = try make(EchoDevice(type: .network))
        #expect(driver.config(0, 4) == 0x1041_1af4)
        #expect(driver.config(8, 4) == 0x0200_0001)
        #expect(driver.config(0x2e, 2) >= 0x40)
        #expect(driver.config(0x0e, 1) == 0)
        #expect(driver.config(6, 2) & 0x10 != 0)
        let bridge = PCIRegisterDriver(rig, slot: 0)
        #expect(bridge.config(0xa, 2) == 0x0600)
        #expect(PCIRegisterDriver(rig, slot: 2).config(0, 4) == .max)
        #expect(rig.bus.read(at: Rig.ecam + 1 << 15 + 1 << 12, width: 4) == UInt64(UInt32.max), "function 1")
    }

    @Test("4.1.4: the capability list has every structure, inside its BAR and aligned")
    func capabilities() throws {
        let (_, driver) = try make()
        #expect(Set(driver.structures.keys) == [1, 2, 3, 4, 5])
        for (kind, structure) in driver.structures where kind != 5 {
            #expect(structure.bar == 0)
            #expect(structure.offset % 4 == 0)
            #expect(structure.offset + structure.length <= 0x8000)
        }
        #expect(driver.notifyMultiplier == 4)
        #expect(driver.structures[2].map { $0.length >= 2 * 4 } == true)
        #expect(driver.config(driver.msixCapability + 2, 2) & 0x7ff == 2, "three vectors")
    }

    @Test("Both ways to configuration space show and change the same")
    func twoWays() throws {
        let (_, driver) = try make()
        for offset in stride(from: 0, to: 256, by: 4) {
            driver.way = .ecam
            let first = driver.config(offset, 4)
            driver.way = .ports
            #expect(driver.config(offset, 4) == first)
            for part in 0..<4 { #expect(driver.config(offset + part, 1) == first >> UInt32(8 * part) & 0xff) }
        }
        driver.setConfig(0x5a, 0x3c, 1)
        driver.way = .ecam
        #expect(driver.config(0x3c, 1) == 0x5a)
    }

    @Test("PCI 3.0, 3.2.2.3.2: the address port takes 32 bits, and does nothing when not enabled")
    func addressPort() throws {
        let (rig, _) = try make()
        let ports = rig.ports
        ports.write(0x8000_0800, at: 0xcf8, width: 4)
        #expect(ports.read(at: 0xcf8, width: 4) == 0x8000_0800)
        ports.write(0, at: 0xcf8, width: 2)
        ports.write(6, at: 0xcf9, width: 1)
        #expect(ports.read(at: 0xcf8, width: 4) == 0x8000_0800)
        #expect(ports.read(at: 0xcfc, width: 2) == 0x1af4)
        #expect(ports.read(at: 0xcfe, width: 2) == 0x1042)
        ports.write(0x0000_0800, at: 0xcf8, width: 4)
        #expect(ports.read(at: 0xcfc, width: 2).map { $0 & 0xffff } == 0xffff)
    }

    @Test("PCI 3.0, 6.2.5.1: sizing a BAR, and read-only registers")
    func sizing() throws {
        let (_, driver) = try make()
        #expect(driver.config(4, 2) & 2 != 0, "memory decoding is on")
        let address = driver.config(0x10, 4)
        #expect(Rig.window.contains(UInt64(address)))
        driver.setConfig(0, 4, 2)
        driver.setConfig(.max, 0x10, 4)
        #expect(driver.config(0x10, 4) == 0xffff_8000)
        driver.setConfig(address, 0x10, 4)
        for offset in [0x14, 0x18, 0x1c, 0x20, 0x24, 0x30, 0, 8, 0x2c, 0x34] {
            let before = driver.config(offset, 4)
            driver.setConfig(.max, offset, 4)
            #expect(driver.config(offset, 4) == before)
        }
        driver.setConfig(0xffff, 4, 2)
        #expect(driver.config(4, 2) == 0x0546)
    }

    @Test("Registers and doorbells follow a BAR that the guest moves")
    func moving() throws {
        let (rig, driver) = try make()
        driver.start()
        let old = driver.bar0
        #expect(rig.doorbells.registered.map(\.address).sorted() == [old + 0x3000, old + 0x3004])
        driver.setConfig(0, 4, 2)
        #expect(rig.bus.read(at: old, width: 4) == nil)
        #expect(rig.doorbells.registered.isEmpty)
        driver.setConfig(0xc080_0000, 0x10, 4)
        #expect(rig.bus.read(at: 0xc080_0000, width: 4) == nil)
        driver.setConfig(2, 4, 2)
        #expect(driver.status == 15)
        #expect(rig.doorbells.registered.map(\.address).sorted() == [0xc080_3000, 0xc080_3004])
        // With decoding on, too.
        driver.setConfig(UInt32(old), 0x10, 4)
        #expect(driver.status == 15)
        #expect(rig.doorbells.registered.map(\.address).sorted() == [old + 0x3000, old + 0x3004])
        #expect(rig.messages.all.isEmpty)
    }

    @Test("A BAR moved onto something else is nowhere, and comes back")
    func overlap() throws {
        let (rig, driver) = try make()
        driver.start()
        let home = UInt32(driver.bar0)
        try rig.bus.insert(Placeholder(), at: 0xc090_4000..<0xc090_5000)
        driver.setConfig(0xc090_0000, 0x10, 4)
        #expect(rig.bus.read(at: 0xc090_0000, width: 4) == nil)
        #expect(rig.doorbells.registered.isEmpty)
        #expect(rig.messages.all.count == 1)
        driver.setConfig(home, 0x10, 4)
        #expect(driver.status == 15)
        #expect(rig.doorbells.registered.count == 2)
    }

    @Test("4.1.3.1: fields answer accesses of their own width only")
    func widths() throws {
        let (_, driver) = try make()
        driver.negotiate()
        #expect(driver.common(0x12, 2) == 2)
        #expect(driver.common(0x12, 1) == 0)
        #expect(driver.common(0x10, 4) == 0)
        #expect(driver.common(0x14, 2) == 0)
        driver.setCommon(0, 0x14, 2)
        driver.setCommon(0, 0x14, 4)
        #expect(driver.status == 11)
        driver.select(1)
        #expect(driver.common(0x1e, 2) == 1)
        #expect(driver.common(0x3c, 2) == 0)
        driver.setArea(.device, 0x1234_5678_9abc_def0)
        #expect(driver.common(0x30, 4) == 0x9abc_def0)
        #expect(driver.common(0x34, 4) == 0x1234_5678)
    }

    @Test("4.1.4.9: the configuration access capability reads and writes registers")
    func accessCapability() throws {
        let (_, driver) = try make()
        let window = try #require(driver.structures[5]).capability
        func aim(_ bar: UInt32, _ offset: UInt32, _ length: UInt32) {
            driver.setConfig(bar, window + 4, 1)
            driver.setConfig(offset, window + 8, 4)
            driver.setConfig(length, window + 12, 4)
        }
        // Also with memory decoding off: that is what firmware uses it for.
        driver.setConfig(0, 4, 2)
        aim(0, 0x14, 1)
        driver.setConfig(1, window + 16, 1)
        driver.setConfig(3, window + 16, 4)
        #expect(driver.config(window + 16, 4) & 0xff == 3)
        aim(0, 0x12, 2)
        #expect(driver.config(window + 16, 2) == 2)
        aim(0, 0x2000, 4)
        #expect(driver.config(window + 16, 4) == 0x0403_0201)
        // What 4.1.4.9.2 forbids is harmless.
        for (bar, offset, length) in [(0, 0x15, 2), (0, 0xffff_fffc, 4), (0, 0x8000, 4), (1, 0, 4), (0, 0, 8), (0, 0, 0)]
            as [(UInt32, UInt32, UInt32)]
        {
            aim(bar, offset, length)
            driver.setConfig(.max, window + 16, 4)
            _ = driver.config(window + 16, 4)
        }
        driver.setConfig(2, 4, 2)
        #expect(driver.status == 3)
    }

    @Test("4.1.4.7: a shared memory region has a capability and a BAR of its own")
    func sharedMemory() throws {
        let request = SharedMemoryRequest(id: 9, size: 0x1_8000_0000, preparation: .dynamic)
        let (rig, driver) = try make(EchoDevice(sharedMemory: request))
        let structure = try #require(driver.structures[8])
        #expect(structure.bar == 2)
        #expect(driver.config(structure.capability + 5, 1) == 9)
        #expect(driver.config(structure.capability + 12, 4) == 0x8000_0000)
        #expect(driver.config(structure.capability + 20, 4) == 1)
        #expect(driver.config(0x18, 4) & 0xf == 0xc)
        let function = try #require(rig.hosted as? VirtioPCIFunction)
        #expect(function.sharedMemoryRange == 0x8_0000_0000..<0xa_0000_0000)
    }

    @Test("Slots and windows that are full are refused with a sentence")
    func refusals() throws {
        let (rig, _) = try make()
        #expect(throws: PCIError.slotUnavailable(1)) { try rig.plug(EchoDevice(), slot: 1) }
        #expect(throws: PCIError.slotUnavailable(32)) { try rig.plug(EchoDevice(), slot: 32) }
        #expect(throws: PCIError.tooManyQueues(1025)) {
            try rig.plug(EchoDevice(queueMaxSizes: Array(repeating: 1, count: 1025)), slot: 2)
        }
        #expect(throws: PCIError.windowFull(1 << 40)) {
            try rig.plug(EchoDevice(sharedMemory: SharedMemoryRequest(id: 0, size: 1 << 40, preparation: .single)), slot: 3)
        }
        #expect(try rig.pci.freeSlot() == 2)
    }
}
