import GuestMemory
import Hypervisor
import Synchronization
import Testing
import Virtio
import Virtqueue

@testable import Transport

/// Queue registers, doorbells, data and virtqueue reset, on both transports.
@Suite struct QueueTests {
    static let kinds = TransportKind.allCases
    static let rings: [Features] = [
        [.version1, .ringReset], [.version1, .ringReset, .eventIndex], [.version1, .ringReset, .ringPacked],
        [.version1, .ringReset, .ringPacked, .eventIndex],
    ]

    @Test("2.7, 2.8: data goes through split and packed queues, with a notification each way", arguments: kinds, rings)
    func data(_ kind: TransportKind, _ features: Features) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.negotiate(features)
        var queue = try rig.driverQueue(0, features)
        driver.setUpQueue(0, size: 8)
        driver.status = 15
        for round in 0..<40 {
            let text = Array("round \(round)".utf8)
            #expect(try rig.echo(text, through: &queue, index: 0, driver) == text)
            #expect(driver.hasInterrupt())
            #expect(driver.interruptCauses() == 1)
            #expect(!driver.hasInterrupt())
        }
    }

    @Test("4.1.5.2, 4.2.3.3: a doorbell that could not be registered traps, and still kicks", arguments: kinds)
    func trappingDoorbell(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        rig.doorbells.refuses.store(true, ordering: .relaxed)
        let driver = rig.driver()
        driver.negotiate()
        var queue = try rig.driverQueue(0, [.version1])
        driver.setUpQueue(0, size: 8)
        driver.notify(0)
        driver.status = 15
        // The notification before DRIVER_OK was none.
        #expect(rig.device.process(0) == nil)
        #expect(rig.doorbells.registered.isEmpty)
        #expect(try rig.echo([1, 2, 3], through: &queue, index: 0, driver) == [1, 2, 3])
        driver.notify(1)
        driver.notify(500)
        driver.notify(0xffff)
    }

    @Test("Doorbells are registered for enabled queues at activation, once", arguments: kinds)
    func doorbells(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.negotiate()
        driver.setUpQueue(1, size: 8)
        #expect(rig.doorbells.registered.isEmpty)
        driver.status = 15
        let expected =
            kind == .mmio
            ? Doorbell(space: .mmio, address: 0xfe00_0050, width: 4, match: 1)
            : Doorbell(space: .mmio, address: 0xc000_3004, width: 0, match: nil)
        #expect(rig.doorbells.registered == [expected])
        driver.start()
        #expect(rig.doorbells.registered.count == 2)
        #expect(rig.messages.all.isEmpty)
    }

    @Test("4.1.4.3.2, 4.2.2.2: registers of a queue in use, and of one that does not exist, do not change", arguments: kinds)
    func queueInUse(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.select(0)
        driver.setArea(.descriptor, 0x5000)
        driver.queueEnabled = 1
        #expect(driver.queueEnabled == 0, "before FEATURES_OK")
        driver.start(sizes: [8])
        driver.select(0)
        driver.setQueueSize(16)
        driver.setArea(.descriptor, 0x5000)
        driver.select(2)
        #expect(driver.queueMaxSize == 0)
        #expect(driver.queueEnabled == 0)
        driver.queueEnabled = 1
        driver.queueReset = 1
        driver.setQueueSize(8)
        driver.select(0xffff)
        driver.queueEnabled = 1
        #expect(driver.queueEnabled == 0)
        rig.device.state.withLock { state in
            let configuration = state.queues?.take(0)?.ring.configuration
            #expect(configuration?.size == 8)
            #expect(configuration?.descriptorArea == Layout.area(.descriptor, queue: 0))
        }
    }

    @Test("4.1.4.3.1: a split queue has a size that is a power of two, a packed one any", arguments: kinds)
    func sizes(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        for (features, kept) in [(Features([.version1]), UInt16(16)), ([.version1, .ringPacked], 12)] {
            driver.negotiate(features)
            driver.setUpQueue(1, size: 16)
            driver.status = 15
            driver.negotiate(features)
            driver.select(1)
            driver.setQueueSize(12)
            driver.setQueueSize(0)
            driver.setQueueSize(17)
            driver.setQueueSize(0xffff)
            for area in RingArea.allCases { driver.setArea(area, Layout.area(area, queue: 1)) }
            driver.queueEnabled = 1
            driver.status = 15
            #expect(driver.status == 15)
            let size = rig.device.state.withLock { $0.queues?.take(1)?.ring.size }
            #expect(size == kept)
        }
    }

    @Test("2.6.1: a virtqueue reset stops one queue and lets it begin again, differently", arguments: kinds, rings)
    func ringReset(_ kind: TransportKind, _ features: Features) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.negotiate(features)
        var queue = try rig.driverQueue(0, features)
        driver.setUpQueue(0, size: 8)
        driver.setUpQueue(1, size: 8)
        driver.status = 15
        #expect(try rig.echo([1, 2, 3], through: &queue, index: 0, driver) == [1, 2, 3])
        rig.device.clearCalls()
        driver.select(0)
        driver.queueReset = 1
        #expect(rig.device.calls == ["stop 0"])
        #expect(driver.queueReset == 0)
        #expect(driver.queueEnabled == 0)
        #expect(driver.queueMaxSize == 64)
        #expect(driver.status == 15)
        var second = try rig.driverQueue(0, size: 32, features)
        driver.setUpQueue(0, size: 32)
        #expect(driver.queueEnabled == 1)
        #expect(driver.queueReset == 0)
        #expect(rig.device.calls == ["stop 0", "start 0 size 32"])
        #expect(try rig.echo([4, 5], through: &second, index: 0, driver) == [4, 5])
        #expect(driver.status == 15)
    }

    @Test("2.6.1: without VIRTIO_F_RING_RESET there is none, and before DRIVER_OK the device has no part in it", arguments: kinds)
    func ringResetConditions(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.start([.version1])
        driver.select(0)
        driver.queueReset = 1
        #expect(driver.queueEnabled == 1)
        driver.negotiate([.version1, .ringReset])
        driver.setUpQueue(0, size: 8)
        rig.device.clearCalls()
        driver.queueReset = 1
        #expect(driver.queueEnabled == 0)
        #expect(rig.device.calls.isEmpty)
    }

    @Test("A queue that cannot be started again needs a reset", arguments: kinds)
    func badRestart(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.start()
        driver.select(0)
        driver.queueReset = 1
        driver.setArea(.descriptor, 3)
        driver.queueEnabled = 1
        #expect(driver.status == 15 | 64)
    }

    @Test("4.2.2.2: an MMIO driver may give a queue up; 4.1.4.3.2: a PCI driver may not")
    func disabling() throws {
        for kind in Self.kinds {
            let rig = try Rig(kind)
            let driver = rig.driver()
            driver.start()
            driver.select(0)
            driver.queueEnabled = 0
            #expect(driver.queueEnabled == (kind == .mmio ? 0 : 1))
            #expect(rig.device.calls.contains("stop 0") == (kind == .mmio))
            driver.queueEnabled = 2
            #expect(driver.queueEnabled == (kind == .mmio ? 0 : 1))
        }
    }

    @Test("A guest that breaks a ring gets DEVICE_NEEDS_RESET", arguments: kinds)
    func brokenRing(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.start()
        // An available index that jumps.
        rig.memory.store(UInt16(5000), at: Layout.area(.driver, queue: 0) + 2)
        driver.notify(0)
        _ = rig.device.process(0)
        #expect(driver.status == 15 | 64)
    }
}
