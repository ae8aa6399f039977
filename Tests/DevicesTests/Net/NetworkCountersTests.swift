import Host
import Testing
import Virtio
import Virtqueue

@testable import Devices

@Suite("Network device: counters")
struct NetworkCountersTests {
    typealias Rings = DeviceHarness.Rings

    /// What the device should say; everything that is not named is 0.
    private func counts(_ values: [String: UInt64] = [:]) -> [String: UInt64] {
        let names = ["framesReceived", "framesSent", "bytesReceived", "bytesSent", "framesDropped"]
        return Dictionary(uniqueKeysWithValues: names.map { ($0, 0) }).merging(values) { $1 }
    }

    @Test("Frames and their bytes count in their direction, without headers, once however many buffers they take", arguments: Rings.local)
    func frames(_ rings: Rings) throws {
        let (net, peer) = try NetworkHarness.stream(rings)
        #expect(net.device.counters == counts())
        var random = Random(seed: 60)
        try net.post(40, of: 256)
        for size in [14, 244, 245, 1514, 3000] {
            let sent = frame(size, &random)
            try peer.send(frame: sent)
            #expect(try net.receive().frame == sent)
        }
        #expect(net.device.counters == counts(["framesReceived": 5, "bytesReceived": 5017]))
        for size in [14, 60, 9000] { try net.send(frame(size, &random), pieces: 3) }
        for size in [14, 60, 9000] { #expect(try peer.frame().count == size) }
        #expect(net.device.counters == counts(["framesReceived": 5, "bytesReceived": 5017, "framesSent": 3, "bytesSent": 9074]))
    }

    @Test("A frame that fits no buffer is dropped; one that the driver filters out is not counted")
    func receiveDrops() throws {
        let (net, peer) = try NetworkHarness.stream(without: .netMergeableBuffers)
        var random = Random(seed: 61)
        // Neither promiscuous nor all-multicast.
        #expect(try net.command([0, 0, 0]) == 0)
        try net.post(1, of: 5)
        try net.post(2, of: 1526)
        // The first buffer has no room for a header, so two frames are lost on it: it stays the first.
        try peer.send(frame: frame(100, &random))
        try peer.send(frame: frame(to: MACAddress(value: 0x5254_0000_0001), 100, &random))
        try peer.send(frame: frame(100, &random))
        try net.harness.wait(for: "two dropped frames") { net.device.counters["framesDropped"] == 2 }
        #expect(net.device.counters == counts(["framesDropped": 2]))
        #expect(try net.harness.stopQueue(0))
        net.forgetPosted()
        try net.harness.startQueue(0)
        try net.post(2, of: 1526)
        try peer.send(frame: frame(1515, &random))
        try peer.send(frame: frame(1514, &random))
        #expect(try net.receive().frame.count == 1514)
        #expect(net.device.counters == counts(["framesReceived": 1, "bytesReceived": 1514, "framesDropped": 3]))
    }

    @Test("A chain that makes no frame, and a frame for a link that is down, are dropped")
    func sendDrops() throws {
        let (net, peer) = try NetworkHarness.stream()
        var random = Random(seed: 62)
        for chain in [[0], [UInt8](repeating: 0, count: 12), [UInt8](repeating: 0, count: 25)] {
            let address = net.harness.place(chain)
            let token = try net.harness.submit(queue: 1, readable: [DriverBuffer(address: address, count: UInt32(chain.count))])
            _ = try net.harness.wait(queue: 1, try #require(token))
        }
        // Segmentation that was not negotiated.
        try net.send(frame(100, &random), header: [0, 1] + [UInt8](repeating: 0, count: 10))
        #expect(net.device.counters == counts(["framesDropped": 4]))
        try net.send(frame(100, &random))
        #expect(try peer.frame().count == 100)
        try net.post(1, of: 2048)
        peer.close()
        try net.harness.wait(for: "the link to go down") { net.harness.interrupts.configurationChanges == 1 }
        for _ in 0..<5 { try net.send(frame(60, &random)) }
        #expect(net.device.counters == counts(["framesSent": 1, "bytesSent": 100, "framesDropped": 9]))
    }

    @Test(
        "A frame that waits for buffers through sleep and reset of a stream's device counts once, when it arrives", arguments: Rings.local)
    func waitingFrame(_ rings: Rings) throws {
        let (net, peer) = try NetworkHarness.stream(rings)
        var random = Random(seed: 63)
        try net.post(3, of: 256)
        try peer.send(frame: frame(800, &random))
        for _ in 0..<3 {
            try net.harness.sleep()
            try net.harness.wake()
        }
        #expect(net.device.counters == counts())
        try net.post(1, of: 256)
        #expect(try net.receive().frame.count == 800)
        try net.harness.reset()
        try net.harness.activate()
        #expect(net.device.counters == counts(["framesReceived": 1, "bytesReceived": 800]))
    }

    @Test("Whoever reads under traffic sees numbers grow")
    func watched() throws {
        let (net, peer) = try NetworkHarness.stream()
        var random = Random(seed: 64)
        let watch = try CounterWatch(net.device)
        var frames: UInt64 = 0
        while frames < 200 || watch.changes < 5 {
            net.harness.releaseBuffers()
            try net.post(10, of: 256)
            let sent = frame(60, &random)
            for _ in 0..<10 { try peer.send(frame: sent) }
            for _ in 0..<10 { try net.send(sent) }
            for _ in 0..<10 { #expect(try net.receive().frame == sent) }
            for _ in 0..<10 { #expect(try peer.frame() == sent) }
            frames += 10
        }
        #expect(watch.finish() == 0)
        #expect(
            net.device.counters
                == counts(["framesReceived": frames, "framesSent": frames, "bytesReceived": 60 * frames, "bytesSent": 60 * frames]))
    }
}
