import GuestMemory
import Host
import Schema
import Testing
import Virtio
import Virtqueue

@testable import Devices

@Suite("Entropy device")
struct EntropyDeviceTests {
    typealias Rings = DeviceHarness.Rings

    private func harness(_ rings: Rings, bytesPerSecond: UInt64? = nil) throws -> DeviceHarness {
        var configuration = EntropyConfiguration(label: "rng")
        configuration.packedRing = true
        configuration.bytesPerSecond = bytesPerSecond
        let harness = try DeviceHarness(try EntropyDevice(configuration), rings: rings)
        try harness.activate()
        return harness
    }

    /// Asks for bytes in buffers of the given sizes; what came.
    private func ask(_ harness: DeviceHarness, _ counts: [Int]) throws -> [UInt8] {
        let address = harness.allocate(counts.reduce(0, +))
        var position = address
        let buffers = counts.map { count in
            defer { position += UInt64(count) }
            return DriverBuffer(address: position, count: UInt32(count))
        }
        let token = try #require(try harness.submit(writable: buffers))
        return harness.bytes(at: address, count: Int(try harness.wait(token)))
    }

    @Test("5.4.6 requests are filled with random bytes", arguments: Rings.all)
    func fills(_ rings: Rings) throws {
        let harness = try harness(rings)
        var seen: Set<[UInt8]> = []
        for counts in [[64], [32, 32], [1, 2, 3, 58], [4096], [65536]] {
            let bytes = try ask(harness, counts)
            #expect(bytes.count == counts.reduce(0, +))
            #expect(seen.insert(Array(bytes.prefix(64))).inserted)
            // 64 and more random bytes are not mostly zero.
            #expect(bytes.count { $0 == 0 } < bytes.count / 4)
        }
    }

    @Test("5.4.6.2 a huge request gets at least one byte, and no byte behind those that are claimed", arguments: Rings.both)
    func huge(_ rings: Rings) throws {
        let harness = try harness(rings)
        let count = 1 << 20
        let address = harness.allocate(count)
        let token = try #require(try harness.submit(writable: [DriverBuffer(address: address, count: UInt32(count))]))
        let written = Int(try harness.wait(token))
        #expect(written > 0)
        #expect(harness.bytes(at: address + UInt64(written), count: count - written) == [UInt8](repeating: 0, count: count - written))
    }

    @Test("A rate limit spends its burst, then makes requests wait, and they survive sleep", arguments: Rings.both)
    func rateLimit(_ rings: Rings) throws {
        let harness = try harness(rings, bytesPerSecond: 2000)
        // More than the burst, so some of it has had to wait.
        var total = 0
        while total < 3000 { total += try ask(harness, [512]).count }
        let address = harness.allocate(64)
        let token = try #require(try harness.submit(writable: [DriverBuffer(address: address, count: 64)]))
        try harness.sleep()
        let resting = try #require(harness.restingPosition(queue: 0))
        #expect(resting.inFlight == 0)
        try harness.wake()
        #expect(try harness.wait(token) > 0)
    }

    @Test("5.4.6.1 readable buffers, and no room at all, do no harm", arguments: Rings.both)
    func driverErrors(_ rings: Rings) throws {
        let harness = try harness(rings)
        let address = harness.allocate(64)
        let token = try #require(try harness.submit(readable: [DriverBuffer(address: address, count: 64)]))
        #expect(try harness.wait(token) == 0)
        #expect(try ask(harness, [64]).count == 64)
        _ = try harness.submit(writable: [DriverBuffer(address: 1 << 40, count: 64)])
        try harness.waitForNeedsReset()
        try harness.reset()
        try harness.activate()
        #expect(try ask(harness, [64]).count == 64)
    }

    @Test("Sleep, snapshot, restore, queue reset", arguments: Rings.both)
    func lifecycle(_ rings: Rings) throws {
        let harness = try harness(rings)
        try harness.sleep()
        let state = try harness.device.snapshot()
        #expect(state == [:])
        var configuration = EntropyConfiguration(label: "rng")
        configuration.packedRing = true
        let other = try EntropyDevice(configuration)
        try other.restore(SavedValue(state))
        #expect(throws: StateError.self) { try other.restore(SavedValue(["surplus": 1])) }
        #expect(throws: StateError.self) { try other.restore(SavedValue(7)) }
        try harness.wake(other)
        #expect(try ask(harness, [64]).count == 64)
        #expect(try harness.stopQueue(0))
        try harness.startQueue(0)
        #expect(try ask(harness, [64]).count == 64)
        #expect(try harness.bounceQueue(0))
        #expect(try ask(harness, [64]).count == 64)
    }
}
