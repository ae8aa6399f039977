import GuestMemory
import Host
import Testing
import Virtio
import Virtqueue

@testable import Devices

@Suite("Network device on a stream")
struct StreamNetworkTests {
    typealias Rings = DeviceHarness.Rings

    @Test("5.1.6.2, 5.1.6.4 frames go both ways, whole and in order", arguments: Rings.all)
    func bothWays(_ rings: Rings) throws {
        let (net, peer) = try NetworkHarness.stream(rings)
        var random = Random(seed: 1)
        for _ in 0..<20 {
            net.harness.releaseBuffers()
            try net.post(8, of: 2048, pieces: 1 + random.below(3))
            let incoming = (0..<8).map { _ in frame(14 + random.below(1500), &random) }
            for frame in incoming { try peer.send(frame: frame) }
            for expected in incoming {
                let (header, frame) = try net.receive()
                #expect(header == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0])
                #expect(frame == expected)
            }
            for _ in 0..<8 {
                let outgoing = frame(14 + random.below(3000), &random)
                try net.send(outgoing, pieces: 1 + random.below(4))
                #expect(try peer.frame() == outgoing)
            }
        }
    }

    @Test("5.1.6.4.1 a frame that fits in no single buffer is spread over several, used together", arguments: Rings.all)
    func merges(_ rings: Rings) throws {
        let (net, peer) = try NetworkHarness.stream(rings)
        var random = Random(seed: 2)
        for size in [300, 1000, 4096, 9000, 12000] {
            net.harness.releaseBuffers()
            let sent = frame(size, &random)
            try net.post((size + 12 + 255) / 256, of: 256, pieces: 2)
            try peer.send(frame: sent)
            let (header, got) = try net.receive()
            #expect(Int(header[10]) == (size + 12 + 255) / 256)
            #expect(got == sent)
        }
    }

    @Test("5.1.6.4 a frame waits for the buffers that it still needs")
    func waitsForBuffers() throws {
        let (net, peer) = try NetworkHarness.stream()
        var random = Random(seed: 3)
        let sent = frame(3000, &random)
        try net.post(1, of: 1500)
        try peer.send(frame: sent)
        #expect(try net.pollBuffer() == nil)
        try net.post(1, of: 1500)
        #expect(try net.pollBuffer() == nil)
        try net.post(1, of: 1500)
        #expect(try net.receive().frame == sent)
    }

    @Test("5.1.6.3.2 without VIRTIO_NET_F_MRG_RXBUF one buffer is used, and a frame that does not fit is lost")
    func doesNotMerge() throws {
        let (net, peer) = try NetworkHarness.stream(without: .netMergeableBuffers)
        var random = Random(seed: 4)
        try net.post(4, of: 1526)
        let fitting = frame(1514, &random)
        try peer.send(frame: frame(1515, &random))
        try peer.send(frame: fitting)
        let (header, got) = try net.receive()
        #expect(header[10] == 1)
        #expect(got == fitting)
    }

    @Test("A frame that the whole queue cannot hold is lost, and the next one arrives")
    func tooLargeForQueue() throws {
        let (net, peer) = try NetworkHarness.stream(Rings(size: 8))
        var random = Random(seed: 5)
        try net.post(8, of: 128)
        let small = frame(100, &random)
        try peer.send(frame: frame(5000, &random))
        try peer.send(frame: small)
        #expect(try net.receive().frame == small)
    }

    @Test("Frames that arrive in pieces, or many at once, are put together")
    func dribble() throws {
        let (net, peer) = try NetworkHarness.stream()
        var random = Random(seed: 6)
        let frames = (0..<6).map { _ in frame(20 + random.below(60), &random) }
        try net.post(16, of: 2048)
        for byte in frames.flatMap(StreamPeer.framed) { try peer.send([byte]) }
        for expected in frames { #expect(try net.receive().frame == expected) }
        // Too short to be a frame: left out.
        try peer.send(StreamPeer.framed([1, 2, 3]) + frames.flatMap(StreamPeer.framed))
        for expected in frames { #expect(try net.receive().frame == expected) }
        let largest = frame(NetworkFrame.maxSize, &random)
        try net.post(1, of: NetworkFrame.maxSize + 12)
        for _ in 0..<4 { try peer.send(frame: frames[0]) }
        for _ in 0..<4 { #expect(try net.receive().frame == frames[0]) }
        try peer.send(frame: largest)
        #expect(try net.receive().frame == largest)
    }

    @Test("A peer that reads slowly gets every frame whole: a socket that takes a part of one does not break the framing")
    func slowPeer() throws {
        let (net, peer) = try NetworkHarness.stream()
        var random = Random(seed: 7)
        let frames = (0..<100).map { _ in frame(20000 + random.below(40000), &random) }
        var tokens: [UInt16] = []
        // Far more than any socket buffer holds; nobody reads yet.
        for frame in frames { tokens.append(try #require(try net.submit(frame))) }
        for frame in frames { #expect(try peer.frame() == frame) }
        for token in tokens { #expect(try net.harness.wait(queue: 1, token) == 0) }
    }

    @Test("2.7.4.2, 5.1.6.2.1 chains that make no frame are given back, and do no harm", arguments: Rings.both)
    func nonsense(_ rings: Rings) throws {
        let (net, peer) = try NetworkHarness.stream(rings)
        var random = Random(seed: 8)
        let header = [UInt8](repeating: 0, count: 12)
        for chain in [[0], [UInt8](repeating: 1, count: 11), header, header + [1, 2, 3]] {
            let address = net.harness.place(chain)
            let token = try net.harness.submit(queue: 1, readable: [DriverBuffer(address: address, count: UInt32(chain.count))])
            #expect(try net.harness.wait(queue: 1, try #require(token)) == 0)
        }
        // A megabyte; segmentation that was not negotiated; a buffer to write to; nothing to read.
        try net.send([UInt8](repeating: 7, count: 1 << 20), pieces: 16)
        try net.send(frame(100, &random), header: [0, 1] + [UInt8](repeating: 0xff, count: 10))
        let address = net.harness.allocate(64)
        let token = try net.harness.submit(queue: 1, writable: [DriverBuffer(address: address, count: 64)])
        #expect(try net.harness.wait(queue: 1, try #require(token)) == 0)
        // Receive buffers without room for the header, and with nothing to write to at all.
        let readable = net.harness.place([1, 2, 3, 4])
        _ = try net.harness.submit(queue: 0, readable: [DriverBuffer(address: readable, count: 4)])
        try net.post(1, of: 5)
        try peer.send(frame: frame(100, &random))
        let good = frame(60, &random)
        try net.send(good)
        #expect(try peer.frame() == good)
        #expect(!net.harness.interrupts.needsReset)
    }

    @Test("2.1.2 a ring that breaks the rules makes the device ask for a reset, and a reset helps")
    func brokenRing() throws {
        let (net, peer) = try NetworkHarness.stream(Rings(format: .split, indirect: false, eventIndex: false))
        let registers = net.harness.queueConfiguration(1)
        net.harness.memory.store(UInt16(40000), at: registers.driverArea + 2)
        net.harness.ring(queue: 1)
        try net.harness.waitForNeedsReset()
        try net.harness.reset()
        net.forgetPosted()
        net.harness.memory.store(UInt16(0), at: registers.driverArea + 2)
        try net.harness.activate()
        var random = Random(seed: 9)
        let good = frame(60, &random)
        try net.send(good)
        #expect(try peer.frame() == good)
    }

    @Test("5.1.4 the end of the stream takes the link down: status, a configuration change, and sent frames are lost")
    func linkDown() throws {
        let (net, peer) = try NetworkHarness.stream()
        var random = Random(seed: 10)
        try net.post(1, of: 2048)
        #expect(net.harness.configuration(at: 6, as: UInt16.self) == 1)
        peer.close()
        try net.harness.wait(for: "the link to go down") { net.harness.interrupts.configurationChanges == 1 }
        #expect(net.harness.configuration(at: 6, as: UInt16.self) == 0)
        for _ in 0..<300 { try net.send(frame(60, &random)) }
        #expect(net.harness.interrupts.configurationChanges == 1)
        #expect(!net.harness.interrupts.needsReset)
    }

    @Test("A peer that loses the framing takes the link down")
    func badLength() throws {
        let (net, peer) = try NetworkHarness.stream()
        try net.post(1, of: 2048)
        try peer.send([0xff, 0xff, 0xff, 0xff, 1, 2, 3])
        try net.harness.wait(for: "the link to go down") { net.harness.interrupts.configurationChanges == 1 }
        #expect(net.harness.configuration(at: 6, as: UInt16.self) == 0)
    }

    @Test("Sleep gives back buffers that hold no frame yet; they are filled after waking", arguments: Rings.both)
    func rewinds(_ rings: Rings) throws {
        let (net, peer) = try NetworkHarness.stream(rings)
        var random = Random(seed: 11)
        let before = frame(500, &random)
        try net.post(3, of: 256)
        // Needs three buffers and one more: waits, with all three held.
        try peer.send(frame: frame(14, &random))
        #expect(try net.receive().frame.count == 14)
        try peer.send(frame: before)
        #expect(try net.harness.sleep())
        for queue in 0..<2 {
            let resting = try #require(net.harness.restingPosition(queue: queue))
            #expect(resting.inFlight == 0)
            #expect(resting.position.available == resting.position.used)
        }
        try net.harness.wake()
        try net.post(2, of: 256)
        #expect(try net.receive().frame == before)
    }

    @Test("No frame is lost or doubled when the device sleeps, wakes and loses queues under traffic", arguments: Rings.both)
    func traffic(_ rings: Rings) throws {
        let (net, peer) = try NetworkHarness.stream(rings)
        var random = Random(seed: 12)
        for round in 0..<60 {
            net.harness.releaseBuffers()
            try net.post(20, of: 1024)
            let incoming = (0..<10).map { _ in frame(14 + random.below(1800), &random) }
            let outgoing = (0..<10).map { _ in frame(14 + random.below(1800), &random) }
            var tokens: [UInt16] = []
            for (index, frame) in incoming.enumerated() {
                try peer.send(frame: frame)
                tokens.append(try #require(try net.submit(outgoing[index])))
                if random.oneIn(5) {
                    try net.harness.sleep()
                    try net.harness.wake()
                }
                if random.oneIn(5) { #expect(try net.harness.bounceQueue(random.below(2))) }
            }
            for expected in incoming { #expect(try net.receive().frame == expected, "round \(round)") }
            for expected in outgoing { #expect(try peer.frame() == expected, "round \(round)") }
            for token in tokens { _ = try net.harness.wait(queue: 1, token) }
            // The rest of the buffers, so that each round begins alike.
            while try net.pollBuffer() != nil {}
            try net.harness.reset()
            net.forgetPosted()
            try net.harness.activate()
        }
    }

    @Test("2.6.1 a receive queue that is reset comes back empty; the other queue goes on")
    func queueReset() throws {
        let (net, peer) = try NetworkHarness.stream()
        var random = Random(seed: 13)
        try net.post(4, of: 2048)
        #expect(try net.harness.stopQueue(0))
        #expect(try !net.harness.stopQueue(0))
        net.forgetPosted()
        let sent = frame(100, &random)
        try net.send(sent)
        #expect(try peer.frame() == sent)
        try peer.send(frame: sent)
        try net.harness.startQueue(0)
        try net.post(1, of: 2048)
        #expect(try net.receive().frame == sent)
    }
}
