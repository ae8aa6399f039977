import Host
import Testing
import Virtio
import Virtqueue

@testable import Devices

@Suite("Console device: counters")
struct ConsoleCountersTests {
    typealias Rings = DeviceHarness.Rings

    private func stream(_ rings: Rings = .init()) throws -> (ConsoleHarness, ConsolePeer) {
        let pair = try SocketPair()
        let peer = try ConsolePeer(pair.second)
        return (try ConsoleHarness(try .stream(pair.first), rings: rings), peer)
    }

    @Test("Output counts when it is taken, input when a buffer is filled", arguments: Rings.both)
    func bytes(_ rings: Rings) throws {
        let (console, peer) = try stream(rings)
        #expect(console.device.counters == ["bytesIn": 0, "bytesOut": 0])
        try console.write([UInt8](repeating: 46, count: 1000), pieces: 3)
        #expect(console.device.counters == ["bytesIn": 0, "bytesOut": 1000])
        #expect(try peer.read(1000).count == 1000)
        try console.post(2, of: 4)
        try peer.write("hello, world")
        #expect(try console.read() + console.read() == Array("hello, w".utf8))
        #expect(console.device.counters == ["bytesIn": 8, "bytesOut": 1000])
        // A chain of the wrong direction holds nothing.
        let address = console.harness.allocate(5)
        let token = try console.harness.submit(queue: 1, writable: [DriverBuffer(address: address, count: 5)])
        _ = try console.harness.wait(queue: 1, try #require(token))
        #expect(console.device.counters == ["bytesIn": 8, "bytesOut": 1000])
    }

    @Test("Output that nobody reads counts, too; reset keeps the counters")
    func null() throws {
        let console = try ConsoleHarness(.null)
        for _ in 0..<10 { try console.write([UInt8](repeating: 0, count: 10000)) }
        #expect(console.device.counters == ["bytesIn": 0, "bytesOut": 100_000])
        try console.harness.reset()
        try console.harness.activate()
        try console.write("more")
        #expect(console.device.counters == ["bytesIn": 0, "bytesOut": 100_004])
    }

    @Test("A chain that is taken in parts, the last of them at sleep, counts each byte once", arguments: Rings.both)
    func parts(_ rings: Rings) throws {
        let (console, peer) = try stream(rings)
        // Longer than what the device keeps and the socket holds together, and nobody reads.
        let count: UInt64 = 2_000_000
        let token = try console.submit([UInt8](repeating: 46, count: Int(count)))
        try console.harness.wait(for: "the first part") {
            // Something was taken; the rest has to wait.
            console.harness.ring(queue: 1)
            return console.device.counters["bytesOut", default: 0] > 0
        }
        #expect(console.device.counters["bytesOut", default: 0] < count)
        try console.harness.sleep()
        #expect(console.device.counters == ["bytesIn": 0, "bytesOut": count])
        try console.harness.wake()
        #expect(try console.harness.wait(queue: 1, token) == 0)
        #expect(try peer.read(65536).count == 65536)
        #expect(console.device.counters == ["bytesIn": 0, "bytesOut": count])
    }

    @Test("Whoever reads meanwhile sees numbers grow")
    func watched() throws {
        let console = try ConsoleHarness(.null)
        let watch = try CounterWatch(console.device)
        var lines: UInt64 = 0
        while lines < 200 || watch.changes < 5 {
            console.harness.releaseBuffers()
            try console.write("0123456789")
            lines += 1
        }
        #expect(watch.finish() == 0)
        #expect(console.device.counters == ["bytesIn": 0, "bytesOut": 10 * lines])
    }
}
