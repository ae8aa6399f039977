import Virtqueue

/// Why a driver could not do what it was asked for.
enum DriverFailure: Error {
    case negotiation(NegotiationError)
    case queue(VirtQueueError)
    /// What the device answered instead of success.
    case status(UInt8)
    case nothing
}

/// Bits that every driver here wants: VERSION_1, without which it cannot work, and RING_RESET.
enum CommonFeature {
    static let version1: UInt64 = 1 << 32
    static let ringReset: UInt64 = 1 << 40
}

/// How many descriptors the queues here have.
typealias Queue<T: DriverTransport> = VirtQueue<GuestHAL<T>, 16>

/// Starts a device with the features `ring`, which it must offer, and makes its queue `index`.
func begin<T: DriverTransport>(_ transport: inout T, ring: UInt64, wanted: UInt64 = 0) throws(DriverFailure) -> UInt64 {
    do throws(NegotiationError) {
        return try transport.begin(wanted: wanted | CommonFeature.ringReset, required: CommonFeature.version1 | ring)
    } catch { throw .negotiation(error) }
}

func finish<T: DriverTransport>(_ transport: T) throws(DriverFailure) {
    do throws(NegotiationError) { try transport.finish() } catch { throw .negotiation(error) }
}

/// A queue that is polled: the device shall send no used buffer notification.
func queue<T: DriverTransport>(_ transport: T, _ index: UInt16, ring: UInt64) throws(DriverFailure) -> Queue<T> {
    do throws(VirtQueueError) {
        var queue: Queue<T> = try VirtQueue(transport, index, features: RingFeatures(featureBits: ring), hal: GuestHAL())
        queue.setDeviceNotify(false)
        return queue
    } catch { throw .queue(error) }
}

extension VirtQueue {
    /// The same as `addNotifyWaitPop`, with this payload's error.
    mutating func request(_ chain: inout BufferChain) throws(DriverFailure) -> UInt32 {
        do throws(VirtQueueError) { return try addNotifyWaitPop(&chain) } catch { throw .queue(error) }
    }

    mutating func give(_ chain: inout BufferChain?) throws(DriverFailure) -> UInt16 {
        do throws(VirtQueueError) { return try add(&chain) } catch { throw .queue(error) }
    }

    /// The next used chain; nil when none comes in time.
    mutating func await() throws(DriverFailure) -> UsedChain? {
        var round: UInt64 = 0
        while !canPop {
            guard Patience.isLeft(round) else { return nil }
            round += 1
        }
        do throws(VirtQueueError) { return try popUsed() } catch { throw .queue(error) }
    }
}

/// VIRTIO_BLK_F_RO and VIRTIO_BLK_F_FLUSH.
private enum BlockFeature {
    static let readOnly: UInt64 = 1 << 5
    static let flush: UInt64 = 1 << 9
}

/// A disk (virtio 1.3, 5.2).
struct BlockGuestDriver<T: DriverTransport>: ~Copyable {
    let transport: T
    var requests: Queue<T>
    let isReadOnly: Bool
    /// In sectors.
    let capacity: UInt64
    /// The last request of each kind: header, data, status.
    private var reading = BufferChain(readable: [16], writable: [512, 1])
    private var writing = BufferChain(readable: [16, 512], writable: [1])
    private var asking = BufferChain(readable: [16], writable: [20, 1])
    private var flushing = BufferChain(readable: [16], writable: [1])

    init(_ transport: T, ring: UInt64) throws(DriverFailure) {
        var transport = transport
        let features = try begin(&transport, ring: ring, wanted: BlockFeature.readOnly | BlockFeature.flush)
        let requests = try queue(transport, 0, ring: features)
        try finish(transport)
        self.requests = requests
        self.transport = transport
        isReadOnly = features & BlockFeature.readOnly != 0
        capacity = transport.readConsistently { $0.configuration(at: 0, as: UInt64.self) }
    }

    /// Reads a sector, and has `body` look at it.
    mutating func read(_ sector: UInt64, _ body: (RawSpan) -> Bool) throws(DriverFailure) -> Bool {
        Self.setHeader(&reading, type: 0, sector)
        let written = try requests.request(&reading)
        try Self.check(reading.load(UInt8.self, from: 2))
        return written == 513 && body(reading.bytes(of: 1))
    }

    /// Writes a sector that `body` fills in.
    mutating func write(_ sector: UInt64, _ body: (inout MutableRawSpan) -> Void) throws(DriverFailure) {
        Self.setHeader(&writing, type: 1, sector)
        var bytes = writing.mutableBytes(of: 1)
        body(&bytes)
        _ = try requests.request(&writing)
        try Self.check(writing.load(UInt8.self, from: 2))
    }

    mutating func flush() throws(DriverFailure) {
        Self.setHeader(&flushing, type: 4, 0)
        _ = try requests.request(&flushing)
        try Self.check(flushing.load(UInt8.self, from: 1))
    }

    /// Has `body` look at the disk's ID.
    mutating func identity(_ body: (RawSpan) -> Bool) throws(DriverFailure) -> Bool {
        Self.setHeader(&asking, type: 8, 0)
        _ = try requests.request(&asking)
        try Self.check(asking.load(UInt8.self, from: 2))
        return body(asking.bytes(of: 1))
    }

    /// Reads `count` sectors from `sector` on, all of them in flight at once. `body` looks at each, in whatever order they come.
    mutating func readAhead(_ sector: UInt64, _ count: Int, _ body: (UInt64, RawSpan) -> Bool) throws(DriverFailure) -> Bool {
        for index in 0..<count {
            var chain: BufferChain? = BufferChain(readable: [16], writable: [512, 1])
            if var request = chain.take() {
                Self.setHeader(&request, type: 0, sector + UInt64(index))
                chain = consume request
            }
            _ = try requests.give(&chain)
        }
        requests.notifyIfNeeded()
        var seen: UInt64 = 0
        for _ in 0..<count {
            guard let used = try requests.await() else { throw .nothing }
            switch consume used.buffers {
            case .none: throw .nothing
            case .some(let chain):
                try Self.check(chain.load(UInt8.self, from: 2))
                guard let from = chain.load(UInt64.self, from: 0, at: 8), body(from, chain.bytes(of: 1)) else { return false }
                seen |= 1 << (from &- sector & 63)
            }
        }
        return seen == (1 << UInt64(count)) - 1
    }

    /// struct virtio_blk_req: type, reserved, sector.
    private static func setHeader(_ chain: inout BufferChain, type: UInt32, _ sector: UInt64) {
        chain.store(type, to: 0, at: 0)
        chain.store(sector, to: 0, at: 8)
    }

    private static func check(_ status: UInt8?) throws(DriverFailure) {
        guard let status, status == 0 else { throw .status(status ?? 0xff) }
    }
}

/// An entropy source (5.4).
struct EntropyGuestDriver<T: DriverTransport>: ~Copyable {
    let transport: T
    var requests: Queue<T>

    init(_ transport: T, ring: UInt64) throws(DriverFailure) {
        var transport = transport
        let features = try begin(&transport, ring: ring)
        let requests = try queue(transport, 0, ring: features)
        try finish(transport)
        self.requests = requests
        self.transport = transport
    }

    /// Fills `bytes` as far as the device does; how far.
    mutating func fill(_ bytes: inout MutableRawSpan) throws(DriverFailure) -> Int {
        let none = InlineArray<0, UInt8>(repeating: 0)
        do throws(VirtQueueError) {
            return Int(try requests.addNotifyWaitPop(readable: none.span.untyped, writable: &bytes))
        } catch { throw .queue(error) }
    }

    /// Asks for one byte, `count` times rounded up to whole batches of the queue's size; false when one comes back without.
    mutating func turn(_ count: Int) throws(DriverFailure) -> Bool {
        var chains = InlineArray<16, BufferChain?> { _ in BufferChain(readable: [], writable: [1]) }
        var done = 0
        while done < count {
            for index in chains.indices { _ = try requests.give(&chains[index]) }
            requests.notifyIfNeeded()
            for index in chains.indices {
                guard let used = try requests.await(), used.written == 1 else { return false }
                chains[index] = used.buffers
            }
            done += chains.count
        }
        return true
    }
}

/// A console with one port (5.3).
struct ConsoleGuestDriver<T: DriverTransport>: ~Copyable {
    let transport: T
    var receive: Queue<T>
    var transmit: Queue<T>

    init(_ transport: T, ring: UInt64) throws(DriverFailure) {
        var transport = transport
        let features = try begin(&transport, ring: ring)
        let receive = try queue(transport, 0, ring: features)
        let transmit = try queue(transport, 1, ring: features)
        try finish(transport)
        self.receive = receive
        self.transmit = transmit
        self.transport = transport
    }

    mutating func write(_ text: RawSpan) throws(DriverFailure) {
        var none = InlineArray<0, UInt8>(repeating: 0)
        var span = none.mutableSpan
        var nothing = span.untyped
        do throws(VirtQueueError) {
            _ = try transmit.addNotifyWaitPop(readable: text, writable: &nothing)
        } catch { throw .queue(error) }
    }

    /// Waits for a line and sends it back; false when none comes.
    mutating func echo() throws(DriverFailure) -> Bool {
        while true {
            var chain: BufferChain? = BufferChain(readable: [], writable: [64])
            let token = try receive.give(&chain)
            receive.notifyIfNeeded()
            guard let used = try receive.await(), used.token == token else { return false }
            let count = Int(used.written)
            switch consume used.buffers {
            case .none: return false
            case .some(let chain):
                let line = chain.bytes(of: 0).extracting(0..<count)
                try write(line)
                if unsafe line.unsafeLoad(fromByteOffset: count - 1, as: UInt8.self) == 0x0a { return true }
            }
        }
    }
}

/// VIRTIO_NET_F_MAC.
private let networkMAC: UInt64 = 1 << 5

/// A network device (5.1) with one pair of queues.
struct NetworkGuestDriver<T: DriverTransport>: ~Copyable {
    /// struct virtio_net_hdr, all zero for a frame that is whole.
    static var headerSize: Int { 12 }
    static var frameSize: Int { 1514 }

    let transport: T
    var receive: Queue<T>
    var transmit: Queue<T>
    /// As the device has it; most significant byte first.
    let mac: InlineArray<6, UInt8>

    init(_ transport: T, ring: UInt64) throws(DriverFailure) {
        var transport = transport
        let features = try begin(&transport, ring: ring, wanted: networkMAC)
        var receive = try queue(transport, 0, ring: features)
        let transmit = try queue(transport, 1, ring: features)
        for _ in 0..<2 {
            var buffer: BufferChain? = BufferChain(readable: [], writable: [Self.headerSize, Self.frameSize])
            _ = try receive.give(&buffer)
        }
        try finish(transport)
        receive.notifyIfNeeded()
        self.receive = receive
        self.transmit = transmit
        self.transport = transport
        mac = transport.readConsistently { transport in InlineArray { index in transport.configuration(at: index, as: UInt8.self) } }
    }

    /// Sends a frame of `count` bytes that `body` fills in.
    mutating func send(_ count: Int, _ body: (inout MutableRawSpan) -> Void) throws(DriverFailure) {
        var chain = BufferChain(readable: [Self.headerSize, count], writable: [])
        var bytes = chain.mutableBytes(of: 1)
        body(&bytes)
        _ = try transmit.request(&chain)
    }

    /// Waits for a frame and has `body` look at it.
    mutating func receive(_ body: (RawSpan) -> Bool) throws(DriverFailure) -> Bool {
        guard let used = try receive.await() else { return false }
        let count = Int(used.written) - Self.headerSize
        switch consume used.buffers {
        case .some(let chain) where count >= 0: return body(chain.bytes(of: 1).extracting(0..<count))
        default: return false
        }
    }
}
