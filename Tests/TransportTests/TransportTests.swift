import Synchronization
import Testing
import Virtio
import Virtqueue

@testable import Transport

/// What both transports have in common, on each of them.
@Suite struct TransportTests {
    static let kinds = TransportKind.allCases

    @Test("3.1.1: the whole sequence activates the device exactly at DRIVER_OK", arguments: kinds)
    func sequence(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        #expect(driver.status == 0)
        #expect(Features(rawValue: driver.features()).isSuperset(of: [.version1, .ringReset, EchoDevice.ownFeature]))
        #expect(driver.deviceFeatures(2) == 0)
        #expect(driver.negotiate([.version1, .ringReset]))
        driver.setUpQueue(0, size: 8)
        #expect(rig.device.calls == ["acknowledge"])
        #expect(rig.device.negotiated == [.version1, .ringReset])
        driver.status = 15
        #expect(rig.device.calls == ["acknowledge", "activate [0]"])
        #expect(driver.status == 15)
        driver.status = 15
        #expect(rig.device.calls.count == 2)
    }

    @Test("2.2.2: FEATURES_OK is refused for what was not offered, and without VERSION_1", arguments: kinds)
    func features(_ kind: TransportKind) throws {
        let rig = try Rig(kind, device: EchoDevice(features: [.ours, EchoDevice.ownFeature]))
        let driver = rig.driver()
        #expect(!driver.negotiate([.version1, .ringPacked]))
        #expect(!driver.negotiate([.ringReset]))
        #expect(!driver.negotiate([.version1, Features(bit: 63)]))
        #expect(driver.status == 3)
        driver.status = 0
        driver.status = 1
        driver.status = 3
        driver.accept([.version1])
        driver.writeDriverFeatures(1, 2)
        driver.status = 11
        #expect(driver.status == 3)
        #expect(rig.device.calls.isEmpty)
        // A driver may try again with less, and after a reset (2.2.2).
        #expect(driver.negotiate([.version1]))
        driver.accept([.version1, .eventIndex])
        driver.status = 15
        #expect(rig.device.negotiated == [.version1])
    }

    @Test("2.2.2: features that need the transport are not offered", arguments: kinds)
    func transportFeatures(_ kind: TransportKind) throws {
        let rig = try Rig(kind, device: EchoDevice(features: [.ours, Features(bit: 38), Features(bit: 39), Features(bit: 41)]))
        #expect(Features(rawValue: rig.driver().features()) == .ours)
    }

    @Test("2.1.1: bits are set in order and cleared by a reset only", arguments: kinds)
    func statusOrder(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.status = 2
        #expect(driver.status == 0)
        driver.status = 4
        #expect(driver.status == 0)
        driver.status = 1
        driver.status = 9
        #expect(driver.status == 1)
        driver.negotiate()
        driver.status = 3
        #expect(driver.status == 11)
        driver.status = 11 | 0x30
        #expect(driver.status == 11)
        #expect(rig.device.calls == ["acknowledge"])
    }

    @Test("2.1.1: after FAILED only a reset leads on", arguments: kinds)
    func failed(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.negotiate()
        driver.status = 11 | 128
        #expect(driver.status == 139)
        driver.status = 15 | 128
        #expect(driver.status == 139)
        #expect(rig.device.calls == ["acknowledge"])
        driver.start()
        #expect(driver.status == 15)
    }

    @Test("2.1.2: DEVICE_NEEDS_RESET from a worker sends a configuration change notification", arguments: kinds)
    func needsReset(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.start()
        let interrupt = try #require(rig.device.interrupt)
        #expect(!driver.hasInterrupt())
        interrupt.needsReset()
        #expect(driver.status == 15 | 64)
        #expect(driver.hasInterrupt())
        #expect(driver.interruptCauses() == 2)
        #expect(rig.hosted?.lifecycle == Lifecycle(phase: .active, isAsleep: false, needsReset: true))
        driver.status = 0
        #expect(driver.status == 0)
        driver.start()
        #expect(driver.status == 15)
        #expect(rig.device.calls == ["acknowledge", "activate [0, 1]", "reset", "acknowledge", "activate [0, 1]"])
    }

    @Test("2.1.2: the device may give up while it is being activated", arguments: kinds)
    func failureDuringActivation(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        rig.device.state.withLock { $0.failsDuringActivation = true }
        driver.start()
        #expect(driver.status == 15 | 64)
        #expect(driver.interruptCauses() == 2)
    }

    @Test("2.1.2: a failing activation and a queue outside memory need a reset", arguments: kinds)
    func failingActivation(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        rig.device.state.withLock { $0.activationFails = true }
        driver.start()
        #expect(driver.status == 15 | 64)
        #expect(driver.hasInterrupt())
        driver.status = 15
        // What of it had begun is stopped at once: the driver's reset finds a device that is not active.
        #expect(rig.device.calls == ["acknowledge", "activate [0, 1]", "reset"])
        rig.device.state.withLock { $0.activationFails = false }

        driver.negotiate()
        driver.setUpQueue(1, size: 8)
        driver.select(0)
        driver.setArea(.descriptor, 0xffff_ffff_ffff_fff0)
        driver.queueEnabled = 1
        rig.device.clearCalls()
        driver.status = 15
        #expect(driver.status == 15 | 64)
        // The device never was active, so a reset is none of its business.
        driver.status = 0
        #expect(rig.device.calls.isEmpty)
        driver.start()
        #expect(driver.status == 15)
    }

    @Test("2.4.1: a reset clears everything and stops the device", arguments: kinds)
    func reset(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.start(sizes: [8, 4])
        rig.device.interrupt?.signalQueue(0)
        driver.status = 0
        #expect(driver.status == 0)
        #expect(driver.interruptCauses() == 0)
        for queue in 0..<2 {
            driver.select(UInt32(queue))
            #expect(driver.queueEnabled == 0)
            #expect(driver.queueMaxSize == [64, 16][queue])
        }
        #expect(rig.device.calls.last == "reset")
        // No notification comes after the reset (2.4.1).
        _ = driver.hasInterrupt()
        rig.device.interrupt?.signalQueue(0)
        rig.device.interrupt?.signalConfigurationChange()
        #expect(!driver.hasInterrupt())
        #expect(driver.interruptCauses() == 0)
    }

    @Test("2.4.1: status does not read 0 while the device could not be stopped", arguments: kinds)
    func failingReset(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.start()
        rig.device.state.withLock { $0.resetFails = true }
        driver.status = 0
        #expect(driver.status == 15 | 64)
        rig.device.state.withLock { $0.resetFails = false }
        driver.status = 0
        #expect(driver.status == 0)
    }

    @Test("2.5.1: the generation changes exactly when two reads could tear", arguments: kinds)
    func generation(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        #expect(driver.readConfiguration(0, 4) == 0x0403_0201)
        #expect(driver.readConfiguration(3, 1) == 4)
        #expect(driver.readConfiguration(4, 2) == 0x0605)
        #expect(driver.readConfiguration(12, 8) == 0x100f_0e0d)
        #expect(driver.readConfiguration(300, 4) == 0)
        let before = driver.generation
        _ = driver.readConfiguration(0, 4)
        #expect(driver.generation == before)
        // The device changes its bytes, and has not yet said so.
        rig.device.state.withLock { $0.bytes[4] = 0xff }
        #expect(driver.readConfiguration(4, 1) == 0xff)
        #expect(driver.generation != before)
    }

    @Test("2.5: the driver writes configuration space byte by byte", arguments: kinds)
    func configurationWrites(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.negotiate()
        driver.writeConfiguration(0xbeef, 2, 2)
        driver.writeConfiguration(0x77, 7, 1)
        driver.writeConfiguration(0x1234, 254, 8)
        #expect(driver.readConfiguration(0, 8) == 0x7707_0605_beef_0201)
    }

    @Test("2.1.2: a configuration change waits for DRIVER_OK", arguments: kinds)
    func earlyConfigurationChange(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.start()
        let interrupt = try #require(rig.device.interrupt)
        interrupt.signalConfigurationChange()
        #expect(driver.hasInterrupt())
        #expect(driver.interruptCauses() == 2)
        driver.status = 0
        driver.negotiate()
        interrupt.signalConfigurationChange()
        #expect(!driver.hasInterrupt())
        driver.status = 15
        #expect(driver.hasInterrupt())
        #expect(driver.interruptCauses() == 2)
    }

    @Test("Registers change nothing when the width or the place is wrong", arguments: kinds)
    func wildAccesses(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.start()
        rig.device.clearCalls()
        let base = driver.registers.lowerBound
        for offset in stride(from: UInt64(0), to: 0x100, by: 1) {
            // Eight bytes belong to no register of either transport.
            rig.bus.write(0, at: base + offset, width: 8)
            if offset % 4 != 0 { rig.bus.write(0, at: base + offset, width: 4) }
        }
        #expect(driver.status == 15)
        #expect(rig.device.calls.isEmpty)
    }
}
