import Glibc
import Host
import Schema
import Synchronization
import Testing
import Virtio

@testable import Devices

/// A tap in a network namespace of its own, with the host's end at 10.99.0.1: the kernel is the other end of the link.
final class TapNetwork: Sendable {
    let taps: [TapQueue]
    private let namespace: OwnedDescriptor

    /// Needs the right to make network namespaces and taps, and iproute2.
    static let isPossible: Bool = {
        guard geteuid() == 0, findProgram("ip") != nil, findProgram("nsenter") != nil else { return false }
        return (try? OwnedDescriptor.open("/dev/net/tun", flags: O_RDWR)) != nil
    }()

    /// Makes the tap on a thread of its own, which alone changes its namespace; the tap stays where it was made.
    init(queues: Int, mtu: Int = 1500) throws {
        let made = Mutex<Result<[TapQueue], any Error>?>(nil)
        let place = Slot<OwnedDescriptor>()
        let worker = try WorkerThread(name: "netns", state: true) { _, _ in
            let result = Result { try Self.make(queues, mtu) }
            made.withLock { $0 = result }
            if let namespace = try? OwnedDescriptor.open("/proc/thread-self/ns/net", flags: O_RDONLY) { place.put(namespace) }
        }
        _ = worker.stop()
        guard let result = made.withLock({ $0 }), let namespace = place.take() else { throw Timeout("the tap") }
        taps = try result.get()
        self.namespace = namespace
    }

    /// Deletes the interface under its queues.
    func remove() throws {
        var child = try ChildProcess(
            path: try #require(findProgram("nsenter")),
            arguments: ["nsenter", "--net=/proc/self/fd/3", findProgram("ip") ?? "ip", "link", "delete", "tap0"],
            descriptors: [InheritedDescriptor(namespace.rawValue, as: 3)])
        let status = try child.wait(timeoutMilliseconds: 30000)
        #expect(status == .exited(0))
    }

    private static func make(_ queues: Int, _ mtu: Int) throws -> [TapQueue] {
        try NetworkNamespace.leave()
        let taps = try (0..<queues).map { index in
            try TapQueue(
                try OwnedDescriptor.open("/dev/net/tun", flags: O_RDWR), name: "tap0", mode: index == 0 ? .create : .join,
                multiQueue: queues > 1)
        }
        let interface = try #require(NetworkInterface(existing: "tap0"))
        try interface.setMTU(mtu)
        #expect(try interface.mtu() == mtu)
        #expect(try interface.hardwareAddress().count == 6)
        try interface.raise()
        var child = try ChildProcess(
            path: try #require(findProgram("ip")), arguments: ["ip", "address", "add", "10.99.0.1/24", "dev", "tap0"])
        #expect(try child.wait(timeoutMilliseconds: 30000) == .exited(0))
        return taps
    }
}

@Suite("Network device on a tap", .enabled(if: TapNetwork.isPossible), .serialized)
struct TapNetworkTests {
    typealias Rings = DeviceHarness.Rings
    static let guest: [UInt8] = [10, 99, 0, 2]
    static let host: [UInt8] = [10, 99, 0, 1]

    private func harness(_ rings: Rings = .init(), queues: Int = 1, mtu: Int = 1500, without: Features = []) throws -> (
        NetworkHarness, TapNetwork
    ) {
        let network = try TapNetwork(queues: queues, mtu: mtu)
        let device = try NetworkDevice(NetworkHarness.configuration(), taps: network.taps)
        return (try NetworkHarness(device, rings: rings, without: without), network)
    }

    /// The same, perhaps with the frames moved by somebody who knows nothing of us.
    private func foreignHarness(_ isForeign: Bool, queues: Int) throws -> (NetworkHarness, TapNetwork, ForeignNetwork?) {
        guard isForeign else {
            let (net, network) = try harness(queues: queues)
            return (net, network, nil)
        }
        let network = try TapNetwork(queues: queues, mtu: 1500)
        let backEnd = try NetworkDevice(NetworkHarness.configuration(), taps: network.taps)
        let foreign = try ForeignNetwork(NetworkHarness.configuration(), backEnd: backEnd, pairs: queues)
        return (try NetworkHarness(foreign.device), network, foreign)
    }

    /// Who has the host's address?
    private static let arpRequest: [UInt8] =
        MACAddress.broadcast.bytes + NetworkHarness.mac.bytes + [8, 6, 0, 1, 8, 0, 6, 4, 0, 1] + NetworkHarness.mac.bytes + guest
        + [0, 0, 0, 0, 0, 0] + host

    /// The next frame of that type; others (the host's own multicast) are left out.
    private func receive(_ net: NetworkHarness, type: [UInt8], size: Int, queues: Range<Int> = 0..<1) throws -> [UInt8] {
        while true {
            let (header, frame) = try net.receive()
            try net.post(Int(header[10]) | Int(header[11]) << 8, of: size)
            if Array(frame[12..<14]) == type { return frame }
        }
    }

    /// Asks for the host's address; it learns the guest's at the same time.
    private func resolve(_ net: NetworkHarness, size: Int = 2048) throws -> [UInt8] {
        try net.send(Self.arpRequest)
        while true {
            let reply = try receive(net, type: [8, 6], size: size)
            guard reply[20...21].elementsEqual([0, 2]) else { continue }
            #expect(Array(reply[28..<32]) == Self.host)
            return Array(reply[22..<28])
        }
    }

    private func checksum(_ bytes: [UInt8]) -> [UInt8] {
        var sum: UInt32 = 0
        for index in stride(from: 0, to: bytes.count, by: 2) {
            sum += UInt32(bytes[index]) << 8 | (index + 1 < bytes.count ? UInt32(bytes[index + 1]) : 0)
        }
        while sum > 0xffff { sum = (sum & 0xffff) + (sum >> 16) }
        return [UInt8(truncatingIfNeeded: ~sum >> 8), UInt8(truncatingIfNeeded: ~sum)]
    }

    /// An echo request to the host with `count` bytes of data.
    private func ping(to address: [UInt8], _ count: Int, _ random: inout Random) -> [UInt8] {
        let data = random.bytes(count)
        var message: [UInt8] = [8, 0, 0, 0, 0x12, 0x34, 0, 1] + data
        message.replaceSubrange(2..<4, with: checksum(message))
        let length = 20 + message.count
        var header: [UInt8] = [0x45, 0, UInt8(length >> 8), UInt8(length & 255), 0, 1, 0, 0, 64, 1, 0, 0] + Self.guest + Self.host
        header.replaceSubrange(10..<12, with: checksum(header))
        return address + NetworkHarness.mac.bytes + [8, 0] + header + message
    }

    @Test("5.1.6 the host's kernel answers, in buffers of one or several segments", arguments: Rings.both, [1, 3])
    func answers(_ rings: Rings, _ pieces: Int) throws {
        let (net, _) = try harness(rings)
        var random = Random(seed: 30)
        try net.post(16, of: 2048, pieces: pieces)
        let address = try resolve(net)
        for size in [0, 1, 500, 1400] {
            let request = ping(to: address, size, &random)
            try net.send(request, pieces: pieces)
            let isSame = try receive(net, type: [8, 0], size: 2048)[42...].elementsEqual(request[42...])
            #expect(isSame)
        }
    }

    @Test("5.1.6.4.1 a large frame is spread over small buffers", arguments: Rings.both)
    func merges(_ rings: Rings) throws {
        let (net, _) = try harness(rings, mtu: 65000)
        var random = Random(seed: 31)
        try net.post(100, of: 1536)
        let address = try resolve(net, size: 1536)
        for size in [1510, 9000, 60000] {
            let request = ping(to: address, size, &random)
            try net.send(request, pieces: 3)
            let isSame = try receive(net, type: [8, 0], size: 1536)[42...].elementsEqual(request[42...])
            #expect(isSame)
        }
    }

    @Test("5.1.6.3.1 a header in pieces")
    func splitHeader() throws {
        let (net, _) = try harness()
        // Segments of 8 bytes: neither the header nor the addresses lie in one.
        try net.post(8, of: 512, pieces: 64)
        #expect(try resolve(net, size: 512).count == 6)
    }

    @Test("5.1.6.4.1 without VIRTIO_NET_F_GUEST_CSUM header flags are zero")
    func flags() throws {
        let (net, _) = try harness(without: [.netControlGuestOffloads, .netGuestOffloads])
        var random = Random(seed: 32)
        try net.post(16, of: 2048)
        let address = try resolve(net)
        try net.send(ping(to: address, 100, &random))
        let (header, _) = try net.receive()
        #expect(header.prefix(10).allSatisfy { $0 == 0 })
    }

    @Test("5.1.6.5.5 a second pair is in use from the command on and no longer than that", arguments: [false, true])
    func multiQueue(isForeign: Bool) throws {
        let (net, network, foreign) = try foreignHarness(isForeign, queues: 2)
        defer { if let foreign { #expect(foreign.stop() == nil) } }
        var random = Random(seed: 33)
        #expect(net.controlQueue == 4)
        try net.post(32, of: 2048)
        try net.post(32, of: 2048, queue: 2)
        // Not attached: the kernel puts nothing into it.
        #expect(throws: SystemError.self) { try network.taps[1].descriptor.readSome(2048) }
        let address = try resolve(net)
        #expect(try net.command([4, 0, 2, 0]) == 0)
        do throws(SystemError) {
            _ = try network.taps[1].descriptor.readSome(2048)
        } catch {
            #expect(error.errno == .wouldBlock)
        }
        // After a driver has sent a flow on a queue, the flow's answers come on that pair.
        for _ in 0..<5 {
            let request = ping(to: address, 200, &random)
            try net.send(request, queue: 3)
            var reply: [UInt8]?
            try net.harness.wait(for: "the reply on either queue") {
                for queue in [0, 2] {
                    while let bytes = try net.pollBuffer(queue: queue) {
                        if bytes.count > 26, Array(bytes[24..<26]) == [8, 0] { reply = Array(bytes.dropFirst(12)) }
                    }
                }
                return reply != nil
            }
            let isSame = reply?[42...].elementsEqual(request[42...]) == true
            #expect(isSame)
        }
        #expect(try net.command([4, 0, 1, 0]) == 0)
        #expect(throws: SystemError.self) { try network.taps[1].descriptor.readSome(2048) }
        // Whatever a driver still has in an unused queue is given back; a back-end of ours lets a queue that it may not use rest.
        if !isForeign { try net.send(ping(to: address, 10, &random), queue: 3) }
        #expect(try net.command([4, 0, 3, 0]) == 1)
    }

    @Test("5.1.4, 5.1.6.5.1 what a foreign back-end cannot know is said and kept here")
    func personality() throws {
        let (net, _, foreign) = try foreignHarness(true, queues: 2)
        let features = net.device.features
        #expect(features.isSuperset(of: [.netControlQueue, .netControlReceive, .netControlMAC, .netMAC, .netStatus, .netMultiQueue]))
        // Its offloads are known, but it could not be told of others later.
        #expect(features.isSuperset(of: [.netGuestChecksum, .netChecksum, .netMergeableBuffers]))
        #expect(features.isDisjoint(with: [.netControlGuestOffloads, .netMTU]))
        #expect(net.harness.configuration(at: 6, as: UInt16.self) == 1)
        #expect(net.harness.configuration(at: 8, as: UInt16.self) == 2)
        #expect(try net.command([0, 0, 0]) == 0)
        #expect(try net.command([1, 1, 2, 3, 4, 5, 6, 7]) == 0)
        #expect(try net.command([4, 0, 2, 0]) == 0)
        #expect(net.harness.configuration(at: 0, as: UInt32.self) == 0x0504_0302)
        #expect(try net.command([5, 0, 0, 0, 0, 0, 0, 0, 0, 0]) == 1)
        // Saved by its owner, and restored into a device with another back-end.
        let saved = try net.device.snapshot()
        guard case .object(let fields) = saved else { throw Timeout("a state") }
        #expect(fields["queuePairs"] == .integer(2))
        #expect(fields["mac"] == .string("02:03:04:05:06:07"))
        #expect(fields["promiscuous"] == .bool(false))
        let (other, _, next) = try foreignHarness(true, queues: 2)
        try other.device.restore(SavedValue(saved))
        #expect(try other.device.snapshot() == saved)
        try net.harness.reset()
        #expect(net.harness.configuration(at: 0, as: UInt8.self) == NetworkHarness.mac.bytes[0])
        for foreign in [foreign, next] { #expect(foreign?.stop() == nil) }
    }

    @Test("Two pairs survive sleep and reset")
    func multiQueueLife() throws {
        let (net, network) = try harness(queues: 2)
        #expect(try net.command([4, 0, 2, 0]) == 0)
        #expect(try net.harness.sleep())
        try net.harness.wake()
        do throws(SystemError) {
            _ = try network.taps[1].descriptor.readSome(2048)
        } catch {
            #expect(error.errno == .wouldBlock)
        }
        try net.harness.reset()
        #expect(throws: SystemError.self) { try network.taps[1].descriptor.readSome(2048) }
    }

    @Test("5.1.6.5.6 offloads that were not negotiated are refused, others are set")
    func offloads() throws {
        let (net, _) = try harness()
        #expect(net.harness.features.isSuperset(of: [.netGuestChecksum, .netGuestTSO4, .netChecksum, .netHostTSO4]))
        #expect(try net.command([5, 0, 2, 0, 0, 0, 0, 0, 0, 0]) == 0)
        #expect(try net.command([5, 0, 1, 0, 0, 0, 0, 0, 0, 0]) == 1)
    }

    @Test("A tap that is removed takes the link down; its driver can still reset and start the device")
    func removed() throws {
        let (net, network) = try harness()
        var random = Random(seed: 36)
        try net.post(4, of: 2048)
        _ = try resolve(net)
        try network.remove()
        try net.harness.wait(for: "the link to go down") { net.harness.interrupts.configurationChanges == 1 }
        #expect(net.harness.configuration(at: 6, as: UInt16.self) == 0)
        for _ in 0..<5 { try net.send(frame(100, &random)) }
        try net.harness.reset()
        try net.harness.activate()
        try net.send(frame(100, &random))
        #expect(net.harness.configuration(at: 6, as: UInt16.self) == 0)
    }

    @Test("Headers that make no sense lose their frame and nothing else")
    func hostileHeaders() throws {
        let (net, _) = try harness()
        var random = Random(seed: 34)
        try net.post(16, of: 2048)
        for _ in 0..<200 { try net.send(random.bytes(14 + random.below(100)), header: random.bytes(12), pieces: 1 + random.below(5)) }
        #expect(try resolve(net).count == 6)
    }

    @Test("Sleeping and waking under traffic loses no buffer", arguments: Rings.both)
    func traffic(_ rings: Rings) throws {
        let (net, _) = try harness(rings)
        var random = Random(seed: 35)
        try net.post(16, of: 2048)
        let address = try resolve(net)
        for _ in 0..<40 {
            try net.send(ping(to: address, 100, &random))
            try net.harness.sleep()
            let resting = try #require(net.harness.restingPosition(queue: 0))
            #expect(resting.inFlight == 0)
            try net.harness.wake()
            let count = try receive(net, type: [8, 0], size: 2048).count
            #expect(count == 142)
        }
    }

    @Test("The counters of two pairs add up to what the driver has seen")
    func counters() throws {
        let (net, _) = try harness(queues: 2)
        try net.post(32, of: 2048)
        try net.post(32, of: 2048, queue: 2)
        #expect(try net.command([4, 0, 2, 0]) == 0)
        try net.send(Self.arpRequest)
        try net.send(Self.arpRequest, queue: 3)
        // No frame, so none is sent.
        try net.send([1, 2], queue: 3)
        var frames: UInt64 = 0
        var bytes: UInt64 = 0
        func collect() throws {
            for queue in [0, 2] {
                while let buffer = try net.pollBuffer(queue: queue) {
                    frames += 1
                    bytes += UInt64(buffer.count - 12)
                }
            }
        }
        try net.harness.wait(for: "a frame") {
            try collect()
            return frames > 0
        }
        try net.harness.sleep()
        try collect()
        #expect(
            net.device.counters == [
                "framesReceived": frames, "bytesReceived": bytes, "framesSent": 2, "bytesSent": UInt64(2 * Self.arpRequest.count),
                "framesDropped": 1,
            ])
    }

    @Test("A frame that waits for buffers when the device sleeps is lost, since the tap has given it away, and counts as dropped")
    func droppedAtSleep() throws {
        let (net, _) = try harness()
        // Only what is for the guest: the host's own multicast is left out, uncounted.
        #expect(try net.command([0, 0, 0]) == 0)
        try net.post(1, of: 20)
        try net.send(Self.arpRequest)
        try net.harness.wait(for: "the reply to be lost") {
            try net.harness.sleep()
            try net.harness.wake()
            return net.device.counters["framesDropped"] != 0
        }
        try net.harness.sleep()
        #expect(
            net.device.counters == [
                "framesReceived": 0, "bytesReceived": 0, "framesSent": 1, "bytesSent": UInt64(Self.arpRequest.count), "framesDropped": 1,
            ])
    }
}
