import Schema
import Synchronization
import TestSupport
import Testing
import Virtio
import Virtqueue

@testable import Transport

/// Sleep, wake, snapshot and restore of a device together with its transport.
@Suite struct SleepTests {
    static let kinds = TransportKind.allCases
    static let rings = QueueTests.rings

    @Test("A sleeping device gives its queues back; waking kicks and interrupts each queue once", arguments: kinds)
    func sleepAndWake(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        let hosted = try #require(rig.hosted)
        driver.negotiate()
        var queue = try rig.driverQueue(0, [.version1])
        driver.setUpQueue(0, size: 8)
        driver.status = 15
        try hosted.sleep()
        #expect(hosted.lifecycle == Lifecycle(phase: .active, isAsleep: true, needsReset: false))
        #expect(throws: LifecycleError.self) { try hosted.sleep() }
        // No vCPU runs now; if one did, its writes would change nothing.
        driver.status = 0
        #expect(driver.status == 15)
        try hosted.wake()
        #expect(throws: LifecycleError.self) { try hosted.wake() }
        #expect(rig.device.calls == ["acknowledge", "activate [0]", "sleep", "wake"])
        #expect(driver.hasInterrupt())
        // Used buffers, and configuration space, which may be another one than before.
        #expect(driver.interruptCauses() == 3)
        #expect(rig.device.process(0) == 0)
        #expect(rig.device.process(0) == nil)
        #expect(try rig.echo([7, 8], through: &queue, index: 0, driver) == [7, 8])
    }

    @Test("A doorbell that rings while the device sleeps is not lost", arguments: kinds)
    func doorbellAsleep(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.start()
        let hosted = try #require(rig.hosted)
        try hosted.sleep()
        driver.notify(1)
        try hosted.wake()
        #expect(rig.device.process(1) == 0)
    }

    @Test("New and reset devices sleep and wake without queues", arguments: kinds)
    func withoutQueues(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let hosted = try #require(rig.hosted)
        #expect(throws: LifecycleError.self) { try hosted.snapshot() }
        try hosted.sleep()
        _ = try hosted.snapshot()
        try hosted.wake()
        let driver = rig.driver()
        driver.start()
        driver.status = 0
        try hosted.sleep()
        try hosted.wake()
        #expect(rig.device.calls.filter { $0.hasPrefix("wake") } == ["wake nil", "wake nil"])
        driver.start()
        #expect(driver.status == 15)
    }

    @Test("A device goes on in another process, mid-ring, and saves the same again", arguments: kinds, rings)
    func restore(_ kind: TransportKind, _ features: Features) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.negotiate(features)
        var queue = try rig.driverQueue(0, features)
        driver.setUpQueue(0, size: 8)
        driver.status = 15
        for round in 0..<11 { #expect(try rig.echo([UInt8(round)], through: &queue, index: 0, driver) == [UInt8(round)]) }
        let hosted = try #require(rig.hosted)
        try hosted.sleep()
        let saved = try hosted.snapshot()

        let second = try Rig(kind, memory: rig.memory)
        let heir = try #require(second.hosted)
        try heir.sleep()
        try heir.restore(SavedValue(saved))
        #expect(try heir.snapshot() == saved)
        try heir.wake()
        let secondDriver = second.driver()
        #expect(secondDriver.status == 15)
        #expect(second.device.negotiated == features)
        #expect(second.device.state.withLock { $0.echoed } == 11)
        #expect(second.device.process(0) == 0)
        for round in 0..<11 {
            #expect(try second.echo([UInt8(round)], through: &queue, index: 0, secondDriver) == [UInt8(round)])
        }
        #expect(second.doorbells.registered.count == 1)
    }

    @Test("A change of configuration space between save and restore is announced, and shows in the generation", arguments: kinds)
    func configurationChangesAsleep(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.start()
        #expect(driver.readConfiguration(0, 1) == 1)
        let generation = driver.generation
        let hosted = try #require(rig.hosted)
        try hosted.sleep()
        let second = try Rig(kind, memory: rig.memory)
        second.device.state.withLock { $0.bytes[1] = 99 }
        let heir = try #require(second.hosted)
        try heir.sleep()
        try heir.restore(SavedValue(try hosted.snapshot()))
        try heir.wake()
        let other = second.driver()
        #expect(other.hasInterrupt())
        #expect(other.interruptCauses() & 2 == 2)
        // To a driver that was about to read the rest, what it has read and what it reads now do not belong together.
        #expect(other.readConfiguration(1, 1) == 99)
        #expect(other.generation != generation)
    }

    @Test("A device that has lost its queues in a failed wake is not saved", arguments: kinds)
    func lostQueues(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        rig.driver().start()
        let hosted = try #require(rig.hosted)
        try hosted.sleep()
        _ = try hosted.snapshot()
        rig.device.state.withLock { $0.wakeFails = true }
        #expect(throws: DeviceError.self) { try hosted.wake() }
        #expect(hosted.lifecycle == Lifecycle(phase: .active, isAsleep: true, needsReset: false))
        let error = #expect(throws: DeviceError.self) { _ = try hosted.snapshot() }
        #expect(error?.description.contains("queues") == true)
    }

    @Test("BARs, MSI-X table, masks, pending bits and vectors survive")
    func restorePCI() throws {
        let rig = try Rig(.pci)
        let driver = PCIRegisterDriver(rig, slot: 1)
        driver.setConfig(0xc0a0_0000, 0x10, 4)
        driver.enableMSIX()
        for vector in 0..<3 { driver.setEntry(vector, data: UInt32(40 + vector), masked: vector == 2) }
        driver.start()
        #expect(driver.setVector(1, queue: 0) == 1)
        #expect(driver.setVector(2, queue: 1) == 2)
        rig.device.interrupt?.signalQueue(1)
        let hosted = try #require(rig.hosted)
        try hosted.sleep()
        let saved = try hosted.snapshot()

        let second = try Rig(.pci, memory: rig.memory)
        let heir = try #require(second.hosted)
        try heir.sleep()
        try heir.restore(SavedValue(saved))
        #expect(try heir.snapshot() == saved)
        try heir.wake()
        let other = PCIRegisterDriver(second, slot: 1)
        #expect(other.bar0 == 0xc0a0_0000)
        #expect(other.status == 15)
        #expect(second.bus.read(at: 0xc000_0000, width: 4) == nil)
        #expect(second.doorbells.registered.count == 2)
        #expect(second.routing.delivered() == [41])
        #expect(other.pending() == 4)
        other.mask(2, false)
        #expect(second.routing.delivered() == [42])
    }

    @Test("A failed device stays failed", arguments: kinds)
    func restoreFailed(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        rig.driver().start()
        rig.device.interrupt?.needsReset()
        let hosted = try #require(rig.hosted)
        try hosted.sleep()
        let second = try Rig(kind, memory: rig.memory)
        let heir = try #require(second.hosted)
        try heir.sleep()
        try heir.restore(SavedValue(try hosted.snapshot()))
        try heir.wake()
        #expect(heir.lifecycle == Lifecycle(phase: .active, isAsleep: false, needsReset: true))
        #expect(second.driver().status == 15 | 64)
    }

    @Test("Every field of a snapshot that is removed, retyped, out of range or unknown is refused with its path", arguments: kinds)
    func refusals(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        rig.driver().start()
        let hosted = try #require(rig.hosted)
        try hosted.sleep()
        let all = mutations(of: try hosted.snapshot())
        #expect(all.count > 100)
        for mutation in all {
            let second = try Rig(kind, memory: rig.memory)
            let heir = try #require(second.hosted)
            try heir.sleep()
            let error = #expect(throws: StateError.self, "\(mutation)") {
                try heir.restore(SavedValue(mutation.document, path: "devices.echo"))
            }
            #expect(error?.path == "devices.echo\(mutation.blamed.isEmpty ? "" : ".")\(mutation.blamed)", "\(mutation)")
        }
    }

    @Test("A status that the lifecycle or the features contradict is refused", arguments: kinds)
    func contradictions(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        rig.driver().start()
        let hosted = try #require(rig.hosted)
        try hosted.sleep()
        let saved = try hosted.snapshot()
        let damage: [([JSONPath.Step], JSONValue)] = [
            ([.key("transport"), .key("status")], 11), ([.key("transport"), .key("status")], 4),
            ([.key("transport"), .key("status")], 79), ([.key("transport"), .key("status")], 31),
            ([.key("lifecycle"), .key("phase")], "new"), ([.key("transport"), .key("driverFeatures")], "0x0"),
            ([.key("transport"), .key("driverFeatures")], "0x8000000100000000"),
            ([.key("transport"), .key("kind")], .string(kind == .pci ? "mmio" : "pci")),
            ([.key("queues"), .index(0), .key("descriptorArea")], "0xfffffffffffffff0"),
            ([.key("queues"), .index(0), .key("size")], 0), ([.key("queues"), .index(0), .key("size")], 65),
            ([.key("queues"), .index(0), .key("ready")], false),
            ([.key("queues"), .index(0), .key("position"), .key("used")], 77),
        ]
        for (path, value) in damage {
            let second = try Rig(kind, memory: rig.memory)
            let heir = try #require(second.hosted)
            try heir.sleep()
            #expect(throws: StateError.self, "\(path) \(value)") {
                try heir.restore(SavedValue(saved.replacing(JSONPath(path), with: value)))
            }
        }
    }
}
