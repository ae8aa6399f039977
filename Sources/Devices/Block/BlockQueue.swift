import Host
import Virtio
import Virtqueue

/// One queue of a block device with the requests that are in flight from it. Belongs to a `BlockWorker`.
struct BlockQueue: ~Copyable, Sendable {
    /// What `takeRequests` ended with.
    enum Outcome {
        /// The driver has no more requests now.
        case drained
        /// There may be more.
        case more
        /// There may be more, but every slot is taken: go on when requests complete.
        case full
    }

    private var queue: ActiveQueue
    private let counters: BlockCounters
    private var slots: FixedArray<BlockSlot?>
    /// The slots that exist and are free; the others are made when they are first needed, and then kept.
    private var free: [Int] = []
    private var made = 0
    private let chainCapacity: Int
    /// The driver broke a rule: nothing more is taken from this queue until it is started anew.
    private(set) var isBroken = false
    /// Requests that the engine works on.
    private var inFlight = 0
    /// Bytes of requests that were completed and that the driver has not been shown.
    private var unpublishedBytes: UInt64 = 0

    /// So much that was done at once is shown to the driver before more is taken: it goes on with that meanwhile, and has new requests when
    /// the others are done, so that neither side waits for the other.
    private static let publishedBytes: UInt64 = 64 << 10

    /// Takes a queue over; `counters` are those of its worker.
    init(_ queue: consuming ActiveQueue, counters: BlockCounters) {
        self.counters = counters
        let size = queue.ring.configuration.maxSize
        slots = FixedArray(count: BlockLimits.inFlight(queueSize: size)) { _ in nil }
        chainCapacity = BlockLimits.chainCapacity(queueSize: size)
        free.reserveCapacity(slots.count)
        self.queue = queue
    }

    /// The queue itself, with nothing in flight.
    consuming func release() -> ActiveQueue { queue }

    /// Adds the doorbell to a poller, under the queue's index. It is never drained: a read for each batch is spared.
    func watchKick(_ poller: borrowing Poller) throws(SystemError) {
        try poller.add(signalsOf: queue.kick.rawValue, token: UInt64(queue.index))
    }

    /// Takes the doorbell out of the poller, if it is there.
    func unwatchKick(_ poller: borrowing Poller) { try? poller.remove(queue.kick.rawValue) }

    var isIdle: Bool { inFlight == 0 }
    var hasFreeSlot: Bool { inFlight < slots.count }

    /// Takes up to a queue's length of requests and starts them. `quietly`: the driver is not asked to ring for the next ones yet, because
    /// whoever calls looks for them, and calls `rest` before he sleeps.
    mutating func takeRequests<Engine: BlockEngine & ~Copyable>(
        _ engine: inout Engine, _ backend: BlockBackend, _ context: DeviceContext, quietly: Bool
    ) -> Outcome {
        guard !isBroken else { return .drained }
        queue.ring.disableNotifications()
        for _ in 0..<slots.count {
            guard let number = takeSlot() else { return .full }
            do throws(QueueFault) {
                // The slot was just made or taken from the list of free ones, so it is there.
                guard try slots[number]?.pop(&queue.ring) == true else {
                    free.append(number)
                    if quietly { return .drained }
                    return try queue.ring.enableNotifications() ? .more : .drained
                }
            } catch {
                free.append(number)
                fail(error.description, context)
                return .drained
            }
            begin(number, &engine, backend, context)
            if isBroken { return .drained }
            if unpublishedBytes >= Self.publishedBytes { publish(context) }
        }
        return .more
    }

    /// Whether the driver has made a request available. One that breaks a rule is told by `takeRequests`.
    var hasRequests: Bool {
        guard !isBroken else { return false }
        do { return try queue.ring.hasAvailable() } catch { return true }
    }

    /// Asks the driver to ring for its next request; true when there is one already.
    mutating func rest() -> Bool {
        guard !isBroken else { return false }
        do { return try queue.ring.enableNotifications() } catch { return true }
    }

    private mutating func takeSlot() -> Int? {
        if let number = free.popLast() { return number }
        guard made < slots.count else { return nil }
        slots[made] = BlockSlot(chainCapacity: chainCapacity)
        made += 1
        return made - 1
    }

    private mutating func begin<Engine: BlockEngine & ~Copyable>(
        _ number: Int, _ engine: inout Engine, _ backend: BlockBackend, _ context: DeviceContext
    ) {
        switch slots[number]?.begin(backend, context.features) {
        case .run?:
            inFlight += 1
            goOn(number, &engine, backend)
        case .done(let status)?:
            inFlight += 1
            complete(number, status)
        case .broken?, nil:
            // Not completed, so given back: the ring stands where nothing is in flight.
            slots[number]?.rewind(&queue.ring)
            free.append(number)
            fail("a request has no writable byte for its status", context)
        }
    }

    /// Does or queues the next step of a request, and the steps after it as long as they are done at once.
    private mutating func goOn<Engine: BlockEngine & ~Copyable>(_ number: Int, _ engine: inout Engine, _ backend: BlockBackend) {
        let token = UInt64(queue.index) << 32 | UInt64(number)
        while let result = slots[number]?.step(&engine, backend, token) {
            guard let status = slots[number]?.finish(result, backend) else { continue }
            return complete(number, status)
        }
    }

    /// A step is done. Completions come for requests that `takeRequests` has started, each once.
    mutating func finish<Engine: BlockEngine & ~Copyable>(
        _ number: Int, _ result: Int32, _ engine: inout Engine, _ backend: BlockBackend
    ) {
        guard slots.indices.contains(number), slots[number] != nil else { return }
        if let status = slots[number]?.finish(result, backend) {
            complete(number, status)
        } else {
            goOn(number, &engine, backend)
        }
    }

    private mutating func complete(_ number: Int, _ status: BlockStatus) {
        unpublishedBytes &+= slots[number]?.complete(status, &queue.ring, counters) ?? 0
        inFlight -= 1
        free.append(number)
    }

    /// Shows the driver what was completed.
    mutating func publish(_ context: DeviceContext) {
        unpublishedBytes = 0
        if queue.ring.publish() { context.interrupt.signalQueue(queue.index) }
    }

    private mutating func fail(_ reason: String, _ context: DeviceContext) {
        isBroken = true
        context.fail(queue: queue.index, reason)
    }
}
