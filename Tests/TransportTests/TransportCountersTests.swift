import Host
import Synchronization
import Testing
import Virtio
import Virtqueue

@testable import Transport

extension EchoDevice {
    var counters: [String: UInt64] { ["echoed": UInt64(clamping: state.withLock { $0.echoed })] }
}

/// Interrupts that go nowhere.
private final class NoInterrupts: TransportInterrupts {
    func notifyQueue(_ queue: Int) {}
    func notifyConfiguration() {}
    func reset() {}
    func resetQueue(_ queue: Int) {}
    func callEvent(_ queue: Int, isReady: @escaping @Sendable () -> Bool) -> EventFD? { nil }
}

/// The transport's counters beside the device's, on both transports.
@Suite struct TransportCountersTests {
    static let kinds = TransportKind.allCases
    static let repetitions: UInt64 = 200_000

    @Test("Used buffer notifications count, together with what the device counts", arguments: kinds, QueueTests.rings)
    func notifications(_ kind: TransportKind, _ features: Features) throws {
        let rig = try Rig(kind)
        let hosted = try #require(rig.hosted)
        #expect(hosted.counters == ["echoed": 0, "interrupts": 0])
        let driver = rig.driver()
        driver.negotiate(features)
        var first = try rig.driverQueue(0, features)
        var second = try rig.driverQueue(1, features)
        driver.setUpQueue(0, size: 8)
        driver.setUpQueue(1, size: 8)
        driver.status = 15
        for _ in 0..<10 { #expect(try rig.echo([1, 2], through: &first, index: 0, driver) == [1, 2]) }
        for _ in 0..<5 { #expect(try rig.echo([3], through: &second, index: 1, driver) == [3]) }
        #expect(hosted.counters == ["echoed": 15, "interrupts": 15])
        // A configuration change is none.
        rig.device.interrupt?.signalConfigurationChange()
        #expect(hosted.counters == ["echoed": 15, "interrupts": 15])
    }

    @Test("A driver that wants no notification costs none", arguments: kinds)
    func suppressed(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.negotiate()
        var queue = try rig.driverQueue(0, [.version1])
        driver.setUpQueue(0, size: 8)
        driver.status = 15
        #expect(try rig.echo([1], through: &queue, index: 0, driver) == [1])
        _ = queue.setUsedNotifications(false)
        #expect(try rig.echo([2], through: &queue, index: 0, driver) == [2])
        #expect(rig.hosted?.counters == ["echoed": 2, "interrupts": 1])
    }

    @Test("Waking counts one notification per running queue; reset sends none, and keeps the counters", arguments: kinds)
    func lifecycle(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let hosted = try #require(rig.hosted)
        let driver = rig.driver()
        driver.start()
        try hosted.sleep()
        #expect(hosted.counters["interrupts"] == 0)
        try hosted.wake()
        #expect(hosted.counters["interrupts"] == 2)
        driver.status = 0
        // Not before the next DRIVER_OK (2.4.1).
        rig.device.interrupt?.signalQueue(0)
        #expect(hosted.counters["interrupts"] == 2)
        driver.start(sizes: [8])
        rig.device.interrupt?.signalQueue(0)
        // From a device that has lost count of its queues.
        rig.device.interrupt?.signalQueue(-1)
        rig.device.interrupt?.signalQueue(2)
        try hosted.sleep()
        try hosted.wake()
        #expect(hosted.counters["interrupts"] == 4)
    }

    @Test("Each queue's thread, and the transport beside them, count at once and lose nothing")
    func threads() throws {
        let signals = TransportSignals(NoInterrupts(), queueCount: 2)
        signals.set(.driverOK)
        let count = Self.repetitions
        let decreases = Atomic(0)
        do {
            let workers = try (0..<2).map { queue in
                try WorkerThread(name: "queue \(queue)", state: true) { _, _ in
                    for _ in 0..<count { signals.queueUsed(queue) }
                }
            }
            var last: UInt64 = 0
            for _ in 0..<count {
                signals.repeatQueueUsed(0)
                let now = signals.counters.values["interrupts", default: 0]
                if now < last { decreases.add(1, ordering: .relaxed) }
                last = now
            }
            for worker in workers { _ = worker.stop() }
        }
        #expect(decreases.load(ordering: .relaxed) == 0)
        #expect(signals.counters.values == ["interrupts": 3 * count])
    }
}
