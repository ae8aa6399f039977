import Devices
import GuestMemory
import Host
import VhostUser
import Virtio
import Virtqueue

/// The driver's side of one back-end: a queue in memory of our own, and the events between the two.
///
/// It waits for the back-end in the kernel and never polls, asks for a notification with the next used buffer only when there is none left to
/// take, and then like Linux's driver for one, whatever the depth.
final class Disk {
    let subject: Subject
    private let frontend: VhostUserFrontend
    private let memory: GuestMemory
    private let kick: EventFD
    private let call: CallEvent
    private var queue: DriverQueue<GuestMemory>
    private let blocks: Int
    private var random = SeededGenerator(seed: 1)
    private var position = 0
    /// Requests that the back-end has.
    private var pending = 0
    /// Which request a token of the queue stands for.
    private var slots = [Int](repeating: 0, count: Int(Disk.queueSize))

    private static let queueSize: UInt16 = 128
    /// VIRTIO_BLK_F_FLUSH (9) among them: without it writes would be brought to the storage one by one.
    private static let features: Features = [.version1, .eventIndex, .indirectDescriptors, Features(bit: 9)]
    private static let patience: Int64 = 10_000

    /// Where things lie in the memory that both sides share.
    private enum Place {
        static let ring: UInt64 = 0x1000
        static let tables: UInt64 = 0x1_0000
        static let headers: UInt64 = 0x2_0000
        static let statuses: UInt64 = 0x3_0000
        static let data: UInt64 = 0x10_0000
        static var end: UInt64 { data + UInt64(Load.mostBytes) }
    }

    init(_ subject: Subject) throws(StorageError) {
        self.subject = subject
        do {
            var profile = FrontendProfile(.block, label: subject.name, queueCount: 1, queueSize: Self.queueSize)
            profile.configurationSize = BlockSettings.configurationSpaceSize
            profile.isStateless = true
            frontend = try VhostUserFrontend(try UnixSocket.connect(to: subject.socket), profile)
            guard frontend.features.isSuperset(of: Self.features) else {
                throw StorageError("\(subject.name) has not the features that it needs")
            }
            memory = try GuestMemory(ranges: [0..<Place.end], isShared: true)
            kick = try EventFD()
            call = CallEvent(try EventFD())
            var configuration = QueueConfiguration(maxSize: Self.queueSize)
            configuration.descriptorArea = Place.ring
            configuration.driverArea = Place.ring + 0x4000
            configuration.deviceArea = Place.ring + 0x8000
            configuration.ready = true
            queue = try DriverQueue(
                configuration, features: Self.features.ring, memory: memory,
                indirectTables: IndirectTables(address: Place.tables, entries: 4))
            var queues = QueueSet(count: 1)
            let ring = try GuestQueue(configuration, features: Self.features.ring, memory: memory)
            queues.put(ActiveQueue(index: 0, ring: ring, kick: kick))
            frontend.acknowledge(Self.features)
            try frontend.activate(
                Activation(memory: memory, interrupt: Interrupt(call), features: Self.features, queues: queues))
        } catch let error as StorageError {
            throw error
        } catch {
            throw StorageError("\(subject.name): \(error)")
        }
        blocks = Self.capacity(of: frontend) / 4096
        // Data that are not all the same, in pages that are there.
        for place in stride(from: Place.data, to: Place.end, by: 8) { memory.store(random.next(), at: place) }
        guard blocks * 4096 >= Load.mostBytes else { throw StorageError("\(subject.name): its disk is too small") }
    }

    private static func capacity(of frontend: VhostUserFrontend) -> Int {
        var bytes = [UInt8](repeating: 0, count: 8)
        var span = bytes.mutableSpan
        frontend.readConfiguration(at: 0, into: &span)
        return Int(clamping: bytes.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) } &* 512)
    }

    /// Keeps `depth` requests with the back-end for a while, and then waits for the last of them.
    func run(_ load: Load, milliseconds: Int) throws(StorageError) -> Sample {
        do {
            let before = try subject.processorTime()
            let clock = SuspendingClock()
            let start = clock.now
            let end = start + .milliseconds(milliseconds)
            var requests = 0
            for slot in 0..<load.depth { try request(load, slot) }
            if queue.publish() { kick.signal() }
            while pending > 0 {
                let taken = try take(load, goesOn: clock.now < end)
                requests += taken
                if queue.publish() { kick.signal() }
                if taken == 0, pending > 0, !queue.setUsedNotifications(true) {
                    guard call.event.waitWithoutDraining(milliseconds: Self.patience) else { throw StorageError("no answer") }
                    call.event.drain()
                    queue.setUsedNotifications(false)
                }
            }
            let (seconds, attoseconds) = (clock.now - start).components
            return Sample(
                requests: requests, nanoseconds: UInt64(seconds * 1_000_000_000 + attoseconds / 1_000_000_000),
                processorNanoseconds: try subject.processorTime() - before)
        } catch {
            throw StorageError("\(subject.name), \(load.name): \((error as? StorageError)?.message ?? "\(error)")")
        }
    }

    /// Takes what was completed, and asks for as much again if it `goesOn`; returns how much it was.
    private func take(_ load: Load, goesOn: Bool) throws -> Int {
        var taken = 0
        while let (token, _) = try queue.popUsed() {
            let slot = slots[Int(token)]
            let status: UInt8? = memory.load(at: Place.statuses + UInt64(slot))
            guard status == 0 else { throw StorageError("a request failed with status \(status.map { "\($0)" } ?? "?")") }
            taken += 1
            pending -= 1
            if goesOn { try request(load, slot) }
        }
        return taken
    }

    /// Makes one request available, not yet published.
    private func request(_ load: Load, _ slot: Int) throws {
        let header = Place.headers + 16 * UInt64(slot)
        memory.store(UInt32(load.isWrite ? 1 : 0), at: header)
        memory.store(UInt32(0), at: header + 4)
        memory.store(UInt64(nextBlock(load)) * 8, at: header + 8)
        memory.store(UInt8(0xff), at: Place.statuses + UInt64(slot))
        let first = DriverBuffer(address: header, count: 16)
        let data = DriverBuffer(address: Place.data + UInt64(slot * load.bytes), count: UInt32(load.bytes))
        let last = DriverBuffer(address: Place.statuses + UInt64(slot), count: 1)
        let token: UInt16
        if load.isWrite {
            let (readable, writable): (InlineArray<2, DriverBuffer>, InlineArray<1, DriverBuffer>) = ([first, data], [last])
            token = try queue.add(readable: readable.span, writable: writable.span)
        } else {
            let (readable, writable): (InlineArray<1, DriverBuffer>, InlineArray<2, DriverBuffer>) = ([first], [data, last])
            token = try queue.add(readable: readable.span, writable: writable.span)
        }
        slots[Int(token)] = slot
        pending += 1
    }

    /// Where the next request begins, in blocks of 4 KiB.
    private func nextBlock(_ load: Load) -> Int {
        let length = load.bytes / 4096
        guard load.isSequential else { return Int.random(in: 0...blocks - length, using: &random) }
        if position + length > blocks { position = 0 }
        defer { position += length }
        return position
    }
}

/// The queue's way back to us: the back-end signals the event itself.
private final class CallEvent: InterruptSink {
    let event: EventFD
    init(_ event: EventFD) { self.event = event }

    func queueUsed(_ queue: Int) { event.signal() }
    func configurationChanged() {}
    func deviceNeedsReset() { StandardError.write("StorageBenchmark: a back-end wants its driver to reset it\n") }
    func callEvent(_ queue: Int) -> EventFD? { event }
}
