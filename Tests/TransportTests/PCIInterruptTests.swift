import Synchronization
import Testing
import Virtio

@testable import Transport

/// INTx and MSI-X of virtio-pci.
@Suite struct PCIInterruptTests {
    private func make(slot: Int = 1) throws -> (Rig, PCIRegisterDriver) {
        let rig = try Rig(.pci, slot: slot)
        return (rig, PCIRegisterDriver(rig, slot: slot))
    }

    // MARK: INTx

    @Test("4.1.4.5: ISR drives INTx and the status bit; reading clears it", arguments: [1, 2, 3, 4, 7])
    func intx(_ slot: Int) throws {
        let (rig, driver) = try make(slot: slot)
        #expect(driver.config(0x3d, 1) == 1)
        #expect(driver.config(0x3c, 1) == UInt32(16 + slot % 4))
        driver.start()
        rig.device.interrupt?.signalQueue(0)
        rig.device.interrupt?.signalConfigurationChange()
        #expect(rig.lines.map(\.isHigh) == (0..<4).map { $0 == slot % 4 })
        #expect(driver.config(6, 2) & 8 != 0)
        #expect(driver.interruptCauses() == 3)
        #expect(!driver.hasInterrupt())
        #expect(driver.config(6, 2) & 8 == 0)
        #expect(driver.interruptCauses() == 0)
    }

    @Test("PCI 3.0, 6.2.2: interrupt disable keeps the line low and the status bit true")
    func interruptDisable() throws {
        let (rig, driver) = try make()
        driver.start()
        driver.setConfig(0x402, 4, 2)
        rig.device.interrupt?.signalQueue(0)
        #expect(!driver.hasInterrupt())
        #expect(driver.config(6, 2) & 8 != 0)
        driver.setConfig(2, 4, 2)
        #expect(driver.hasInterrupt())
    }

    @Test("Devices that share a line do not lower it for each other")
    func sharedLine() throws {
        let (rig, first) = try make(slot: 1)
        let other = EchoDevice()
        try rig.plug(other, slot: 5)
        let second = PCIRegisterDriver(rig, slot: 5)
        first.start()
        second.start()
        rig.device.interrupt?.signalQueue(0)
        other.interrupt?.signalQueue(0)
        #expect(first.interruptCauses() == 1)
        #expect(rig.lines[1].isHigh)
        #expect(second.interruptCauses() == 1)
        #expect(!rig.lines[1].isHigh)
    }

    // MARK: MSI-X

    @Test("4.1.5.1.2: each event has the vector that the driver chose, none after a reset")
    func vectors() throws {
        let (rig, driver) = try make()
        driver.enableMSIX()
        for vector in 0..<3 { driver.setEntry(vector, data: UInt32(40 + vector)) }
        driver.negotiate()
        #expect(driver.setVector(1, queue: 0) == 1)
        #expect(driver.setVector(2, queue: 1) == 2)
        #expect(driver.setConfigurationVector(0) == 0)
        // A vector that is not in the table is refused (4.1.5.1.2.1).
        #expect(driver.setVector(3, queue: 1) == 0xffff)
        #expect(driver.setVector(2, queue: 1) == 2)
        #expect(driver.setVector(0, queue: 2) == 0xffff)
        driver.setUpQueue(0, size: 8)
        driver.setUpQueue(1, size: 8)
        driver.status = 15
        let interrupt = try #require(rig.device.interrupt)
        interrupt.signalQueue(0)
        #expect(rig.routing.delivered() == [41])
        interrupt.signalQueue(1)
        #expect(rig.routing.delivered() == [42])
        interrupt.signalConfigurationChange()
        #expect(rig.routing.delivered() == [40])
        #expect(rig.lines.allSatisfy { $0.changes.load(ordering: .relaxed) == 0 })
        driver.status = 0
        #expect(driver.setConfigurationVector(0xffff) == 0xffff)
        driver.select(0)
        #expect(driver.common(0x1a, 2) == 0xffff)
        #expect(rig.routing.attachedCount == 0)
        #expect(rig.messages.all.isEmpty)
    }

    @Test("4.1.5.3.1: NO_VECTOR delivers nothing, not even later")
    func noVector() throws {
        let (rig, driver) = try make()
        driver.enableMSIX()
        driver.setEntry(1, data: 41)
        driver.start()
        rig.device.interrupt?.signalQueue(0)
        rig.device.interrupt?.signalConfigurationChange()
        #expect(driver.setVector(1, queue: 0) == 1)
        #expect(driver.setConfigurationVector(1) == 1)
        #expect(rig.routing.delivered().isEmpty)
        rig.device.interrupt?.signalQueue(0)
        #expect(rig.routing.delivered() == [41])
        // The configuration change bit of ISR is set whatever the interrupt (4.1.4.5.1).
        #expect(driver.interruptCauses() == 2)
    }

    @Test("Queues may share a vector, and change it while they run")
    func sharedAndReassigned() throws {
        let (rig, driver) = try make()
        driver.enableMSIX()
        driver.setEntry(0, data: 40)
        driver.setEntry(1, data: 41)
        driver.start()
        for queue in 0..<2 { #expect(driver.setVector(1, queue: queue) == 1) }
        #expect(rig.routing.attachedCount == 2)
        #expect(rig.routing.attachedGSIs.count == 1)
        rig.device.interrupt?.signalQueue(0)
        rig.device.interrupt?.signalQueue(1)
        #expect(rig.routing.delivered() == [41, 41])
        #expect(driver.setVector(0, queue: 1) == 0)
        #expect(rig.routing.attachedGSIs.count == 2)
        rig.device.interrupt?.signalQueue(0)
        rig.device.interrupt?.signalQueue(1)
        #expect(rig.routing.delivered().sorted() == [40, 41])
        // A message rewritten while it is in use counts from then on.
        driver.setEntry(1, data: 99)
        rig.device.interrupt?.signalQueue(0)
        #expect(rig.routing.delivered() == [99])
        #expect(rig.messages.all.isEmpty)
    }

    @Test("PCI 3.0, 6.8.3.4: a masked vector is pending, and comes once when unmasked", arguments: [true, false])
    func masked(_ looksAtPending: Bool) throws {
        let (rig, driver) = try make()
        driver.enableMSIX()
        driver.setEntry(2, data: 42)
        driver.start()
        _ = driver.setVector(2, queue: 0)
        driver.mask(2, true)
        #expect(driver.pending() == 0)
        rig.device.interrupt?.signalQueue(0)
        rig.device.interrupt?.signalQueue(0)
        #expect(rig.routing.delivered().isEmpty)
        if looksAtPending {
            #expect(driver.pending() == 1 << 2)
            #expect(driver.pending() == 1 << 2)
            #expect(rig.bus.read(at: driver.pendingAddress, width: 4) == 4)
        }
        driver.mask(2, false)
        #expect(rig.routing.delivered() == [42])
        #expect(driver.pending() == 0)
        rig.device.interrupt?.signalQueue(0)
        #expect(rig.routing.delivered() == [42])
    }

    @Test("PCI 3.0, 6.8.2.3: the function mask masks all vectors")
    func functionMask() throws {
        let (rig, driver) = try make()
        driver.enableMSIX(functionMask: true)
        driver.setEntry(0, data: 40)
        driver.setEntry(1, data: 41)
        driver.start()
        _ = driver.setVector(0, queue: 0)
        _ = driver.setVector(1, queue: 1)
        rig.device.interrupt?.signalQueue(0)
        rig.device.interrupt?.signalQueue(1)
        #expect(rig.routing.delivered().isEmpty)
        #expect(driver.pending() == 3)
        driver.enableMSIX()
        #expect(rig.routing.delivered().sorted() == [40, 41])
    }

    @Test("With MSI-X switched off, interrupts are INTx again")
    func backToINTx() throws {
        let (rig, driver) = try make()
        driver.enableMSIX()
        driver.setEntry(0, data: 40)
        driver.start()
        _ = driver.setVector(0, queue: 0)
        driver.enableMSIX(false)
        #expect(rig.routing.attachedCount == 0)
        rig.device.interrupt?.signalQueue(0)
        #expect(rig.routing.delivered().isEmpty)
        #expect(driver.hasInterrupt())
        // And the other way round: the line falls when MSI-X takes over.
        driver.enableMSIX()
        #expect(!driver.hasInterrupt())
        #expect(driver.config(6, 2) & 8 == 0)
    }

    @Test("4.1.5.1.2.1: when no route is left, the driver reads NO_VECTOR")
    func noRouteLeft() throws {
        let (rig, driver) = try make()
        rig.routing.refuseGSIs()
        driver.enableMSIX()
        #expect(driver.setVector(0, queue: 0) == 0xffff)
        #expect(rig.messages.all.count == 1)
    }

    @Test("The table takes 4 and 8 byte accesses; a reset leaves it alone")
    func table() throws {
        let (rig, driver) = try make()
        let entry = driver.tableAddress + 16
        #expect(rig.bus.read(at: entry + 12, width: 4) == 1)
        rig.bus.write(0x1_fee0_1003, at: entry, width: 8)
        rig.bus.write(0x0000_0000_0000_4041, at: entry + 8, width: 8)
        #expect(rig.bus.read(at: entry, width: 8) == 0x1_fee0_1000)
        #expect(rig.bus.read(at: entry + 8, width: 8) == 0x4041)
        rig.bus.write(0xff, at: entry + 8, width: 1)
        rig.bus.write(0xffff, at: entry + 10, width: 2)
        driver.status = 0
        #expect(rig.bus.read(at: entry + 8, width: 4) == 0x4041)
        #expect(rig.bus.read(at: driver.tableAddress + 3 * 16, width: 4) == 0)
    }

    @Test("2.6.1: a virtqueue reset takes the queue's vector away")
    func ringReset() throws {
        let (rig, driver) = try make()
        driver.enableMSIX()
        driver.setEntry(1, data: 41)
        driver.start()
        _ = driver.setVector(1, queue: 0)
        driver.queueReset = 1
        #expect(driver.common(0x1a, 2) == 0xffff)
        #expect(rig.routing.attachedCount == 0)
    }
}
