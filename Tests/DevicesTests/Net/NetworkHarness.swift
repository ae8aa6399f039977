import Host
import Testing
import Virtio
import Virtqueue

@testable import Devices

/// A driver for a network device.
final class NetworkHarness {
    let harness: DeviceHarness
    let device: NetworkDevice
    /// Receive buffers that are out, in order, for each receive queue.
    private var posted: [Int: [(token: UInt16, address: UInt64, count: Int)]] = [:]

    static let mac = MACAddress(value: 0x5254_0012_3456)

    static func configuration(mtu: UInt16? = nil) -> NetworkConfiguration {
        NetworkConfiguration(label: "net0", mac: mac, mtu: mtu, packedRing: true)
    }

    init(_ device: NetworkDevice, rings: DeviceHarness.Rings = .init(), without: Features = []) throws {
        self.device = device
        harness = try DeviceHarness(
            device, rings: rings, features: device.features.subtracting(without), isShared: device.dataPath != nil)
        try harness.activate()
    }

    /// A device on a stream, and the stream's other end.
    static func stream(_ rings: DeviceHarness.Rings = .init(), without: Features = []) throws -> (NetworkHarness, StreamPeer) {
        let (device, peer) = try streamDevice()
        return (try NetworkHarness(device, rings: rings, without: without), peer)
    }

    static func streamDevice() throws -> (NetworkDevice, StreamPeer) {
        let pair = try SocketPair()
        let peer = try StreamPeer(pair.second)
        return (try NetworkDevice(configuration(mtu: 1500), stream: pair.first), peer)
    }

    var controlQueue: Int { harness.features.contains(.netMultiQueue) ? device.queueMaxSizes.count - 1 : 2 }

    /// Gives the device receive buffers, each in one segment or in as many as `pieces`.
    func post(_ number: Int, of count: Int, pieces: Int = 1, queue: Int = 0) throws {
        for _ in 0..<number {
            let address = harness.allocate(count)
            let buffers = (0..<pieces).map { piece in
                let start = count * piece / pieces
                let end = count * (piece + 1) / pieces
                return DriverBuffer(address: address + UInt64(start), count: UInt32(end - start))
            }
            let token = try #require(try harness.submit(queue: queue, writable: buffers))
            posted[queue, default: []].append((token, address, count))
        }
    }

    /// Forgets buffers after a reset.
    func forgetPosted() { posted = [:] }

    /// Whether the oldest receive buffer has been used; its bytes.
    func pollBuffer(queue: Int = 0) throws -> [UInt8]? {
        guard let first = posted[queue]?.first, let written = try harness.poll(queue: queue, first.token) else { return nil }
        posted[queue]?.removeFirst()
        return harness.bytes(at: first.address, count: Int(written))
    }

    /// The next used receive buffer; waits for it.
    func buffer(queue: Int = 0) throws -> (bytes: [UInt8], capacity: Int) {
        let first = try #require(posted[queue]?.first)
        let written = try harness.wait(queue: queue, first.token)
        posted[queue]?.removeFirst()
        return (harness.bytes(at: first.address, count: Int(written)), first.count)
    }

    /// The next frame, put together from as many buffers as its header says (5.1.6.4); checks what holds for every frame.
    func receive(queue: Int = 0) throws -> (header: [UInt8], frame: [UInt8]) {
        let first = try buffer(queue: queue)
        let header = Array(first.bytes.prefix(12))
        try #require(header.count == 12)
        let count = Int(header[10]) | Int(header[11]) << 8
        #expect(count >= 1)
        var frame = Array(first.bytes.dropFirst(12))
        var last = (written: first.bytes.count, capacity: first.capacity)
        for _ in 1..<max(count, 1) {
            // All buffers but the last are full, and all are used together (5.1.6.4.1).
            #expect(last.written == last.capacity)
            let next = try #require(posted[queue]?.first)
            let written = try #require(try harness.poll(queue: queue, next.token))
            posted[queue]?.removeFirst()
            frame += harness.bytes(at: next.address, count: Int(written))
            last = (Int(written), next.count)
        }
        return (header, frame)
    }

    /// Makes a frame available for sending.
    func submit(_ frame: [UInt8], header: [UInt8] = [UInt8](repeating: 0, count: 12), pieces: Int = 1, queue: Int = 1) throws -> UInt16? {
        let bytes = header + frame
        let address = harness.place(bytes)
        let buffers = (0..<pieces).map { piece in
            let start = bytes.count * piece / pieces
            let end = bytes.count * (piece + 1) / pieces
            return DriverBuffer(address: address + UInt64(start), count: UInt32(end - start))
        }
        return try harness.submit(queue: queue, readable: buffers)
    }

    /// Sends a frame and waits until the device has used its buffers.
    func send(_ frame: [UInt8], header: [UInt8] = [UInt8](repeating: 0, count: 12), pieces: Int = 1, queue: Int = 1) throws {
        let token = try #require(try submit(frame, header: header, pieces: pieces, queue: queue))
        // A transmitted chain has no writable part (5.1.6.2).
        #expect(try harness.wait(queue: queue, token) == 0)
    }

    /// Sends a control command; the ack byte (5.1.6.5).
    func command(_ bytes: [UInt8]) throws -> UInt8? {
        let request = harness.place(bytes)
        let ack = harness.place([0xaa])
        let token = try #require(
            try harness.submit(
                queue: controlQueue, readable: [DriverBuffer(address: request, count: UInt32(bytes.count))],
                writable: [DriverBuffer(address: ack, count: 1)]))
        #expect(try harness.wait(queue: controlQueue, token) == 1)
        return harness.bytes(at: ack, count: 1).first
    }
}

/// A frame of `count` bytes to an address, with random contents.
func frame(to address: MACAddress = NetworkHarness.mac, _ count: Int, _ random: inout Random) -> [UInt8] {
    Array((address.bytes + random.bytes(max(count - 6, 8))).prefix(max(count, 14)))
}
