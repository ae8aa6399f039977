import Host
import Testing
import Virtio
import Virtqueue

@testable import Devices

@Suite("Entropy device: counters")
struct EntropyCountersTests {
    typealias Rings = DeviceHarness.Rings

    private func harness(_ rings: Rings = .init(), bytesPerSecond: UInt64? = nil) throws -> DeviceHarness {
        var configuration = EntropyConfiguration(label: "rng")
        configuration.packedRing = true
        configuration.bytesPerSecond = bytesPerSecond
        let harness = try DeviceHarness(try EntropyDevice(configuration), rings: rings)
        try harness.activate()
        return harness
    }

    /// Asks for bytes; how many came.
    private func ask(_ harness: DeviceHarness, _ count: Int) throws -> UInt64 {
        let buffer = DriverBuffer(address: harness.allocate(count), count: UInt32(count))
        return UInt64(try harness.wait(try #require(try harness.submit(writable: [buffer]))))
    }

    @Test("Requests count with the bytes that they got, also none", arguments: Rings.local)
    func counts(_ rings: Rings) throws {
        let harness = try harness(rings)
        #expect(harness.device.counters == ["requests": 0, "bytes": 0])
        #expect(try ask(harness, 64) == 64)
        #expect(try ask(harness, 5000) == 5000)
        #expect(harness.device.counters == ["requests": 2, "bytes": 5064])
        let huge = try ask(harness, 1 << 20)
        #expect(harness.device.counters == ["requests": 3, "bytes": 5064 + huge])
        let readable = DriverBuffer(address: harness.allocate(64), count: 64)
        #expect(try harness.wait(try #require(try harness.submit(readable: [readable]))) == 0)
        #expect(harness.device.counters == ["requests": 4, "bytes": 5064 + huge])
        try harness.reset()
        try harness.activate()
        #expect(try ask(harness, 64) == 64)
        #expect(harness.device.counters == ["requests": 5, "bytes": 5128 + huge])
    }

    @Test("A request that has to wait for the rate limit counts once, when it is answered")
    func rateLimit() throws {
        let harness = try harness(bytesPerSecond: 2000)
        var requests: UInt64 = 0
        var bytes: UInt64 = 0
        while bytes < 2500 {
            bytes += try ask(harness, 512)
            requests += 1
        }
        #expect(harness.device.counters == ["requests": requests, "bytes": bytes])
    }

    @Test("Whoever reads meanwhile sees numbers grow")
    func watched() throws {
        let harness = try harness()
        let watch = try CounterWatch(harness.device)
        var requests: UInt64 = 0
        while requests < 200 || watch.changes < 5 {
            harness.releaseBuffers()
            #expect(try ask(harness, 64) == 64)
            requests += 1
        }
        #expect(watch.finish() == 0)
        #expect(harness.device.counters == ["requests": requests, "bytes": 64 * requests])
    }
}
