import TestSupport
import Virtqueue

/// A driver and a device on one ring, and a model that knows what each of them must see. Every check throws a `Mismatch`.
///
/// Each chain carries bytes that follow from its serial number, in both directions, in segments of random number and length (some of them
/// empty). The device holds several chains and completes them in any order.
struct LoopbackModel: ~Copyable {
    final class Held {
        var chain: ChainBuffer
        var serial = -1
        init() { chain = ChainBuffer(capacity: 8) }
    }

    struct Request {
        var serial: Int
        var slot: Int?
        var readable: [DriverBuffer]
        var writable: [DriverBuffer]
        /// What the device said; nil until it completed the chain.
        var written: UInt32?
    }

    static let slotBytes = 256

    let ring: RingCase
    let layout: TestLayout
    let memory: TestMemory
    var driver: DriverQueue<TestMemory>
    var device: DeviceQueue<TestMemory>
    var random: Random

    var nextSerial = 0
    var freeSlots: [Int]
    /// By token: what is with the queue.
    var requests: [UInt16: Request] = [:]
    /// Serial to token.
    var tokens: [Int: UInt16] = [:]
    /// Added, not yet published.
    var added: [Int] = []
    /// Published, not yet popped, in the order in which the device must see them.
    var waiting: [Int] = []
    var waitingStart = 0
    var held: [Held] = []
    var pool: [Held] = []
    /// Completed, not yet published; and published, not yet taken back: in order.
    var completed: [Int] = []
    var returned: [Int] = []
    var returnedStart = 0
    var finished = 0
    /// Where the device's queue notes what it holds; nil when nobody wants to know.
    var notes: TestMemory?

    init(_ ring: RingCase, seed: UInt64, position: QueuePosition = .initial) throws {
        self.ring = ring
        layout = TestLayout(ring)
        let slots = min(Int(ring.size), 512)
        memory = layout.memory(dataBytes: slots * Self.slotBytes)
        // First into variables: an initialiser that throws half-way must not leave one queue without the other.
        let driver = try DriverQueue(
            layout.configuration, features: ring.features, position: position, memory: memory, indirectTables: layout.tables)
        let device = try DeviceQueue(layout.configuration, features: ring.features, position: position, memory: memory)
        self.driver = driver
        self.device = device
        random = Random(seed: seed)
        freeSlots = Array(0..<slots)
    }

    var waitingCount: Int { waiting.count - waitingStart }
    var returnedCount: Int { returned.count - returnedStart }

    static func toDevice(_ serial: Int, _ index: Int) -> UInt8 { UInt8(truncatingIfNeeded: serial &* 31 &+ index &* 7 &+ 1) }
    static func toDriver(_ serial: Int, _ index: Int) -> UInt8 { UInt8(truncatingIfNeeded: serial &* 17 &+ index &* 13 &+ 5) }

    // MARK: Driver

    /// Adds one random chain; false when the ring or the data memory is full.
    mutating func add() throws -> Bool {
        guard let slot = freeSlots.last else { return false }
        let most = min(8, Int(ring.size))
        let count = random.oneIn(3) ? 1 : random.within(1...most)
        let readableCount = random.within(0...count)
        var address = layout.data + UInt64(slot * Self.slotBytes)
        var readable: [DriverBuffer] = []
        var writable: [DriverBuffer] = []
        for index in 0..<count {
            let length = random.oneIn(20) ? 0 : random.within(1...30)
            let buffer = DriverBuffer(address: address, count: UInt32(length))
            if index < readableCount { readable.append(buffer) } else { writable.append(buffer) }
            address += UInt64(length + random.below(3))
        }
        guard try add(readable: readable, writable: writable, slot: slot) else { return false }
        freeSlots.removeLast()
        return true
    }

    /// Adds a chain of the given buffers; false when the ring is full.
    @discardableResult
    mutating func add(readable: [DriverBuffer], writable: [DriverBuffer], slot: Int? = nil) throws -> Bool {
        let count = readable.count + writable.count
        let serial = nextSerial
        let token: UInt16
        let free = driver.freeDescriptors
        do {
            token = try driver.add(readable: readable.span, writable: writable.span)
        } catch .full(let needed, let left) {
            try require(needed > left && left == free, "full with \(left) of \(free) free, \(needed) needed")
            return false
        }
        let direct = !ring.features.indirect || count == 1 || count > Int(layout.tables.entries)
        try require(free - driver.freeDescriptors == (direct ? count : 1), "\(count) buffers took \(free - driver.freeDescriptors)")
        try require(requests[token] == nil, "token \(token) given twice")
        nextSerial += 1
        var position = 0
        for buffer in readable {
            for offset in 0..<UInt64(buffer.count) {
                memory[buffer.address + offset] = Self.toDevice(serial, position)
                position += 1
            }
        }
        for buffer in writable { for offset in 0..<UInt64(buffer.count) { memory[buffer.address + offset] = 0xee } }
        requests[token] = Request(serial: serial, slot: slot, readable: readable, writable: writable)
        tokens[serial] = token
        added.append(serial)
        return true
    }

    /// Publishes what was added; the answer is whether the device wants a notification.
    mutating func publishAvailable() throws -> Bool {
        let notify = driver.publish()
        if added.isEmpty { try require(!notify, "a notification for nothing") }
        waiting += added
        added = []
        return notify
    }

    /// Takes back one used chain and compares all of its bytes; false when there is none.
    mutating func take() throws -> Bool {
        let can = driver.canPop
        guard let (token, written) = try driver.popUsed() else {
            try require(!can && returnedCount == 0, "\(returnedCount) used chains are not to be seen")
            return false
        }
        try require(can, "canPop is false although there is a used chain")
        guard let request = requests.removeValue(forKey: token) else { throw Mismatch("token \(token) is not in flight") }
        guard returnedCount > 0, returned[returnedStart] == request.serial else {
            throw Mismatch("chain \(request.serial) came back out of the order of completion")
        }
        returnedStart += 1
        if returnedStart > 4096 {
            returned.removeFirst(returnedStart)
            returnedStart = 0
        }
        tokens[request.serial] = nil
        try require(request.written == written, "chain \(request.serial): \(written) bytes written, not \(request.written ?? 0)")
        var position = 0
        for buffer in request.writable {
            for offset in 0..<UInt64(buffer.count) {
                let expected = position < Int(written) ? Self.toDriver(request.serial, position) : 0xee
                try require(memory[buffer.address + offset] == expected, "chain \(request.serial): byte \(position) from the device")
                position += 1
            }
        }
        if let slot = request.slot { freeSlots.append(slot) }
        finished += 1
        return true
    }

    // MARK: Device

    /// Pops one chain and compares all readable bytes; false when there is none.
    mutating func pop(mayRewind: Bool = true) throws -> Bool {
        let available = try device.hasAvailable()
        let slot = pool.popLast() ?? Held()
        guard try device.pop(into: &slot.chain) else {
            pool.append(slot)
            try require(!available && waitingCount == 0, "\(waitingCount) available chains are not to be seen")
            return false
        }
        try require(available, "hasAvailable is false although there is a chain")
        guard waitingCount > 0 else { throw Mismatch("popped a chain that was not published") }
        let serial = waiting[waitingStart]
        waitingStart += 1
        if waitingStart > 4096 {
            // Those that the device may hold, and rewind, stay.
            waiting.removeFirst(waitingStart - 1024)
            waitingStart = 1024
        }
        guard let token = tokens[serial], let request = requests[token] else { throw Mismatch("no request for chain \(serial)") }
        try require(ring.features.format == .split || slot.chain.head == token, "buffer id \(slot.chain.head), not \(token)")
        let readable = request.readable.reduce(0) { $0 + Int($1.count) }
        let writable = request.writable.reduce(0) { $0 + Int($1.count) }
        try require(slot.chain.readableBytes == readable, "\(slot.chain.readableBytes) readable bytes, not \(readable)")
        try require(slot.chain.writableBytes == writable, "\(slot.chain.writableBytes) writable bytes, not \(writable)")
        slot.serial = serial
        held.append(slot)
        if mayRewind, random.oneIn(10), try rewindLast() { return true }
        try check(slot)
        return true
    }

    /// Reads what the driver sent, in pieces of random length.
    mutating func check(_ slot: Held) throws {
        var position = 0
        var bytes: [UInt8] = []
        while slot.chain.readableBytes > 0 {
            let wanted = random.within(1...16)
            let count = read(wanted, of: slot, into: &bytes)
            try require(count > 0, "nothing read although \(slot.chain.readableBytes) bytes are left")
            for index in 0..<count {
                try require(bytes[index] == Self.toDevice(slot.serial, position), "chain \(slot.serial): byte \(position) to the device")
                position += 1
            }
        }
    }

    private func read(_ wanted: Int, of slot: Held, into bytes: inout [UInt8]) -> Int {
        bytes = [UInt8](repeating: 0, count: wanted)
        var span = bytes.mutableSpan
        var raw = span.untyped
        return slot.chain.read(into: &raw)
    }

    /// Gives the chain that was popped last back; it must be popped again next.
    mutating func rewindLast() throws -> Bool {
        guard let last = held.last else { return false }
        let before = device.position
        guard device.rewind(last.chain) else { return false }
        try require(device.position != before || notes != nil, "rewind did not move the queue")
        held.removeLast()
        waitingStart -= 1
        try require(waitingStart >= 0 && waiting[waitingStart] == last.serial, "the model lost its place")
        pool.append(last)
        return true
    }

    /// Completes one of the held chains with a random number of bytes.
    mutating func complete() throws -> Bool {
        guard !held.isEmpty else { return false }
        let slot = held.remove(at: random.below(held.count))
        let serial = slot.serial
        let total = slot.chain.writableBytes
        let count = random.oneIn(3) ? random.within(0...total) : total
        while Int(slot.chain.written) < count {
            let start = Int(slot.chain.written)
            let piece = min(random.within(1...16), count - start)
            if random.oneIn(3) {
                // As an engine does that reads into the segments itself.
                fill(slot, from: start, count: piece)
                try require(slot.chain.skipWritable(piece) == piece, "skipped less than is left")
            } else {
                let bytes = (0..<piece).map { Self.toDriver(serial, start + $0) }
                try require(slot.chain.write(bytes.span.untyped) == piece, "wrote less than is left")
            }
        }
        guard let token = tokens[serial] else { throw Mismatch("no token for chain \(serial)") }
        requests[token]?.written = UInt32(count)
        device.complete(slot.chain, written: UInt32(count))
        completed.append(serial)
        pool.append(slot)
        return true
    }

    private func fill(_ slot: Held, from start: Int, count: Int) {
        var done = 0
        for index in 0..<slot.chain.writable.count {
            let segment = slot.chain.writable[index]
            for byte in 0..<segment.count where done < count {
                segment.store(Self.toDriver(slot.serial, start + done), at: byte)
                done += 1
            }
        }
    }

    /// Publishes what was completed; the answer is whether the driver wants a notification.
    mutating func publishUsed() throws -> Bool {
        let notify = device.publish()
        if completed.isEmpty { try require(!notify, "a notification for nothing") }
        returned += completed
        completed = []
        return notify
    }

    /// Replaces the device's queue by one that continues where it stands, as a snapshot does. Only with nothing held or unpublished.
    mutating func restoreDevice() throws {
        guard held.isEmpty, completed.isEmpty, device.inFlight == 0 else { return }
        let ended = device.endLog()
        try require(ended, "a queue with nothing in flight does not end its log")
        device = try DeviceQueue(
            layout.configuration, features: ring.features, position: device.position, memory: memory, log: makeLog())
    }

    // MARK: The device's end

    private func makeLog() -> InFlightLog? {
        guard let notes else { return nil }
        return InFlightLog(notes.all, owner: notes, format: ring.features.format, size: ring.size)
    }

    /// From now on the device's queue has a log.
    mutating func startLog() throws {
        notes = TestMemory(count: InFlightLog.byteCount(ring.features.format, size: ring.size))
        device = try DeviceQueue(
            layout.configuration, features: ring.features, position: device.position, memory: memory, log: makeLog())
    }

    /// The device is gone in the middle of what it did, and another one takes over with nothing but the log. What had been popped and not
    /// published comes again, in the same order. `midway`: it ended between showing the driver its batch and noting that it had.
    mutating func crash(midway: Bool) throws {
        guard let notes else { return }
        if midway {
            let before = (0..<notes.count).map { notes[TestMemory.address + UInt64($0)] }
            _ = device.publish()
            returned += completed
            completed = []
            for (index, byte) in before.enumerated() { notes[TestMemory.address + UInt64(index)] = byte }
        }
        let lost = (held.map(\.serial) + completed).sorted()
        for serial in lost {
            guard let token = tokens[serial], let request = requests[token] else { throw Mismatch("no request for chain \(serial)") }
            requests[token]?.written = nil
            for buffer in request.writable { for offset in 0..<UInt64(buffer.count) { memory[buffer.address + offset] = 0xee } }
        }
        waiting = lost + waiting[waitingStart...]
        waitingStart = 0
        pool += held
        held = []
        completed = []
        // As a front-end says it: a split queue's used index stands in the ring; where a packed queue stands only the log knows.
        var position = QueuePosition.initial
        if ring.features.format == .split {
            let used: UInt16 = memory.load(at: layout.configuration.deviceArea + 2)
            position = QueuePosition(available: used, used: used)
        }
        device = try DeviceQueue(layout.configuration, features: ring.features, position: position, memory: memory, log: makeLog())
    }
}
