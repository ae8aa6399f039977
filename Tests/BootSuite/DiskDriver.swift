import GuestMemory
import Host
import VhostUser
import Virtio
import Virtqueue

/// The driver's side of a disk behind vhost-user, in this process: it writes pages, many at a time, keeps the log of requests in flight, and goes
/// on with another back-end when one has ended.
final class DiskDriver {
    static let pageSize = 4096
    private static let queueSize: UInt16 = 256
    /// VIRTIO_BLK_F_FLUSH (9): without it each write would be brought to the storage on its own.
    private static let features: Features = [.version1, .indirectDescriptors, .eventIndex, Features(bit: 9)]

    /// Where things lie in the memory that both sides share.
    private enum Place {
        static let ring: UInt64 = 0x1000
        static let tables: UInt64 = 0x1_0000
        static let headers: UInt64 = 0x2_0000
        static let statuses: UInt64 = 0x3_0000
        static let data: UInt64 = 0x10_0000
        static let end: UInt64 = data + UInt64(queueSize) * UInt64(pageSize)
    }

    private let frontend: VhostUserFrontend
    private let memory: GuestMemory
    private let kick: EventFD
    private let call: CallEvent
    private var queue: DriverQueue<GuestMemory>
    /// Requests that are under way, by the queue's token.
    private var requests: [UInt16: (page: Int, slot: Int)] = [:]
    private var slot = 0

    init(_ socket: String, packed: Bool) throws {
        var profile = FrontendProfile(.block, label: "disk", queueCount: 1, queueSize: Self.queueSize)
        profile.configurationSize = 60
        profile.isStateless = true
        // Another back-end comes when we say so: nobody waits for it.
        profile.recovery = 0
        frontend = try VhostUserFrontend(try UnixSocket.connect(to: socket), profile)
        let features = packed ? Self.features.union(.ringPacked) : Self.features
        guard frontend.features.isSuperset(of: features) else { throw PeerFailure("the disk has not the features that it needs") }
        memory = try GuestMemory(ranges: [0..<Place.end], isShared: true)
        kick = try EventFD()
        call = CallEvent(try EventFD())
        var configuration = QueueConfiguration(maxSize: Self.queueSize)
        configuration.descriptorArea = Place.ring
        configuration.driverArea = Place.ring + 0x4000
        configuration.deviceArea = Place.ring + 0x8000
        configuration.ready = true
        queue = try DriverQueue(
            configuration, features: features.ring, memory: memory, indirectTables: IndirectTables(address: Place.tables, entries: 4))
        var queues = QueueSet(count: 1)
        let ring = try GuestQueue(configuration, features: features.ring, memory: memory)
        queues.put(ActiveQueue(index: 0, ring: ring, kick: kick))
        frontend.acknowledge(features)
        try frontend.activate(Activation(memory: memory, interrupt: Interrupt(call), features: features, queues: queues))
    }

    /// Asks for all bytes of these pages to be `byte`, in this order.
    func write(_ byte: UInt8, to wanted: [Int]) throws {
        for page in wanted {
            slot = (slot + 1) % Int(Self.queueSize)
            let header = Place.headers + 16 * UInt64(slot)
            memory.store(UInt32(1), at: header)
            memory.store(UInt32(0), at: header + 4)
            memory.store(UInt64(page * Self.pageSize / 512), at: header + 8)
            memory.store(UInt8(0xff), at: Place.statuses + UInt64(slot))
            let data = Place.data + UInt64(slot * Self.pageSize)
            let word = UInt64(byte) &* 0x0101_0101_0101_0101
            for place in stride(from: data, to: data + UInt64(Self.pageSize), by: 8) { memory.store(word, at: place) }
            let readable: InlineArray<2, DriverBuffer> = [
                DriverBuffer(address: header, count: 16), DriverBuffer(address: data, count: UInt32(Self.pageSize)),
            ]
            let writable: InlineArray<1, DriverBuffer> = [DriverBuffer(address: Place.statuses + UInt64(slot), count: 1)]
            let token = try queue.add(readable: readable.span, writable: writable.span)
            requests[token] = (page, slot)
        }
        if queue.publish() { kick.signal() }
    }

    /// Waits until `count` requests have completed, each well and once; the pages that they wrote, in order.
    func finish(_ count: Int, within milliseconds: Int64 = peerPatience) throws -> [Int] {
        let deadline = MonotonicTime.now + milliseconds
        var done: [Int] = []
        while done.count < count {
            // A request that completes again is none that the queue knows: that is thrown.
            if let (token, _) = try queue.popUsed() {
                guard let (page, slot) = requests.removeValue(forKey: token) else { throw PeerFailure("request \(token) was never made") }
                let status: UInt8? = memory.load(at: Place.statuses + UInt64(slot))
                guard status == 0 else { throw PeerFailure("page \(page): status \(status.map { "\($0)" } ?? "?")") }
                done.append(page)
            } else if !queue.setUsedNotifications(true) {
                let left = deadline - MonotonicTime.now
                guard left > 0, call.event.waitWithoutDraining(milliseconds: left) else {
                    let left = requests.values.map(\.page).sorted()
                    throw PeerFailure("\(done.count) of \(count) requests have completed; pages still under way: \(left)")
                }
                call.event.drain()
            }
        }
        return done
    }

    /// Fails when anything completes within a while.
    func expectNothing() throws {
        pause(milliseconds: 300)
        if let (token, _) = try queue.popUsed() { throw PeerFailure("request \(token) has completed, and nothing was asked") }
    }

    /// Another back-end takes the place of the one that has ended.
    func reconnect(_ service: DeviceService) throws {
        let deadline = MonotonicTime.now + peerPatience
        while true {
            var why = "nobody listens"
            do {
                return try frontend.recover(try UnixSocket.connect(to: service.socket))
            } catch let error as VhostUserError where error.kind == .host || error.kind == .departure {
                // The dead one may still have taken the connection, on its way out.
                why = "\(error)"
            } catch let error as VhostUserError {
                throw error
            } catch {}
            try service.expectAlive()
            guard MonotonicTime.now < deadline else { throw PeerFailure("\(service.socket): \(why)") }
            pause(milliseconds: 10)
        }
    }
}

/// The queue's way back to us: the back-end signals the event itself.
private final class CallEvent: InterruptSink {
    let event: EventFD
    init(_ event: EventFD) { self.event = event }

    func queueUsed(_ queue: Int) { event.signal() }
    func configurationChanged() {}
    func deviceNeedsReset() { StandardError.write("the disk wants its driver to reset it\n") }
    func callEvent(_ queue: Int) -> EventFD? { event }
}
