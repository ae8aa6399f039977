import GuestMemory
import Host
import Testing
import Virtio
import Virtqueue

@testable import Devices

@Suite("Block device: workers that look for requests themselves")
struct BlockPollingTests {
    typealias Variant = BlockHarness.Variant
    typealias Kind = BlockHarness.Kind

    @Test("2.7.10 a request is found that no doorbell told of, because the device had asked for none", arguments: Variant.polling)
    func findsRequests(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: 1 << 20))
        let deadline = monotonicNanoseconds() + DeviceHarness.patience
        var found = 0
        while found < 20 {
            guard monotonicNanoseconds() < deadline else { throw Timeout("requests that need no doorbell") }
            let request = try disk.send(Kind.read, input: 512, kick: false)
            // The worker may have gone to sleep just before; then it wants the doorbell.
            if disk.harness.publish() { disk.harness.ring() } else { found += 1 }
            #expect(try disk.finish(request).status == BlockHarness.ok)
            disk.harness.releaseBuffers()
        }
    }

    @Test("A driver that always has a next request does not keep a worker that finds it from being stopped")
    func stopsAmongRequests() throws {
        for variant in Variant.polling where variant.rings.format == .split {
            let disk = try BlockHarness(variant, file: temporaryFile(size: 1 << 20))
            #expect(try disk.status(Kind.flush) == BlockHarness.ok)
            let begun = try EventFD()
            let driver = try EndlessDriver(disk.harness, begun: begun)
            try #require(begun.wait(timeoutMilliseconds: 20_000))
            try disk.harness.sleep()
            #expect(driver.stop() == .wasStopped)
        }
    }
}

/// Makes the first chain of queue 0 available again whenever it is used: a thread that writes the ring itself (virtio 1.3, 2.7.6 and 2.7.8).
private final class EndlessDriver: Sendable {
    enum End {
        case wasStopped
        case cameToAnEnd
    }

    private let thread: WorkerThread<End>

    /// `begun` is signalled when the device has answered many times.
    init(_ harness: DeviceHarness, begun: EventFD) throws {
        let (memory, configuration, doorbell) = (harness.memory, harness.configurations[0], harness.kicks[0])
        let ring = configuration.driverArea
        let head: UInt16 = try #require(memory.load(at: ring + 4))
        thread = try WorkerThread(name: "driver", state: .cameToAnEnd) { end, stop in
            // So that a device that is not to be stopped fails its test.
            let deadline = monotonicNanoseconds() + DeviceHarness.patience
            var answered = 0
            var lastAnswer = monotonicNanoseconds()
            var turns = 0
            while monotonicNanoseconds() < deadline {
                let index: UInt16 = memory.load(at: ring + 2) ?? 0
                if memory.load(at: configuration.deviceArea + 2, as: UInt16.self) == index {
                    memory.store(head, at: ring + 4 + 2 * (UInt64(index) % UInt64(configuration.size)))
                    memory.store(index &+ 1, at: ring + 2)
                    answered += 1
                    lastAnswer = monotonicNanoseconds()
                    // Until it has learnt how close they follow.
                    if answered < 100 { doorbell.signal() }
                    if answered == 5000 { begun.signal() }
                } else if monotonicNanoseconds() - lastAnswer > 50_000_000 {
                    lastAnswer = monotonicNanoseconds()
                    doorbell.signal()
                }
                turns += 1
                if turns % 64 == 0, stop.wait(timeoutMilliseconds: 0) {
                    end = .wasStopped
                    return
                }
            }
        }
    }

    func stop() -> End? { thread.stop() }
}
