import Host
import Testing
import Virtio

@testable import Transport

/// What only virtio-mmio has (virtio 1.3, 4.2).
@Suite struct MMIOTests {
    @Test("4.2.2: identification registers")
    func identification() throws {
        let driver = MMIORegisterDriver(try Rig(.mmio, device: EchoDevice(type: .entropy)))
        #expect(driver.read(0) == 0x7472_6976)
        #expect(driver.read(4) == 2)
        #expect(driver.read(8) == 4)
        #expect(driver.read(0xc) != 0)
    }

    @Test("4.2.2: no shared memory region has length −1")
    func sharedMemory() throws {
        let driver = MMIORegisterDriver(try Rig(.mmio))
        driver.write(7, 0xac)
        for offset in stride(from: UInt64(0xb0), through: 0xbc, by: 4) { #expect(driver.read(offset) == .max) }
    }

    @Test("4.2.2.2: write-only registers and those of the legacy interface read as zero")
    func unreadable() throws {
        let driver = MMIORegisterDriver(try Rig(.mmio))
        driver.start()
        for offset in [0x14, 0x20, 0x24, 0x28, 0x30, 0x38, 0x3c, 0x40, 0x50, 0x64, 0x80, 0x84, 0xac] as [UInt64] {
            #expect(driver.read(offset) == 0, "offset \(offset)")
        }
        driver.write(4096, 0x28)
        driver.write(4096, 0x3c)
        driver.write(0x1234, 0x40)
        #expect(driver.status == 15)
        // Only the eight bits of the field are a status.
        driver.write(0x100, 0x70)
        #expect(driver.status == 15)
    }

    @Test("4.2.2.1: InterruptStatus keeps each event until it is acknowledged; what is left makes another edge")
    func interruptStatus() throws {
        let rig = try Rig(.mmio)
        let driver = MMIORegisterDriver(rig)
        driver.start()
        rig.device.interrupt?.signalQueue(0)
        rig.device.interrupt?.signalConfigurationChange()
        #expect(rig.edge.drain())
        #expect(driver.read(0x60) == 3)
        driver.write(1, 0x64)
        #expect(driver.read(0x60) == 2)
        #expect(rig.edge.drain())
        driver.write(0xffff_ffff, 0x64)
        #expect(driver.read(0x60) == 0)
        #expect(!rig.edge.drain())
    }
}
