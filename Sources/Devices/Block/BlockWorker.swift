import Host
import Virtio

/// The data path of one or more queues: takes requests in batches, hands them to the engine, completes them (design: all popped, one
/// submission, all completed, one publication).
struct BlockWorker<Engine: BlockEngine & ~Copyable>: QueueWorkload, ~Copyable {
    private let backend: BlockBackend
    private let counters: BlockCounters
    private let poller: Poller
    private var engine: Engine
    /// By queue index.
    private var queues: FixedArray<BlockQueue?>
    private var context: DeviceContext?
    private var window: PollingWindow
    /// The queues whose driver has not been asked to ring again, because the worker looks itself. One bit each, as everywhere here.
    private var quiet: UInt64 = 0
    /// When the poller has to be looked at again, in nanoseconds: nothing else tells that the worker has to stop.
    private var nextLook: UInt64 = 0

    /// How long the worker waits, in milliseconds, before it asks a kernel again that was short of something.
    private static var retryInterval: Int32 { 1 }
    /// How often the poller is looked at while the worker does not sleep, in nanoseconds.
    private static var lookInterval: UInt64 { 100_000 }
    private static var stopToken: UInt64 { .max }
    private static var completionToken: UInt64 { .max - 1 }

    init(
        _ backend: BlockBackend, engine: consuming Engine, queueCount: Int, counters: BlockCounters, polling window: PollingWindow
    ) throws(SystemError) {
        let poller = try Poller()
        if let descriptor = engine.completionDescriptor { try poller.add(descriptor, token: Self.completionToken) }
        self.backend = backend
        self.counters = counters
        self.poller = poller
        self.engine = engine
        self.window = window
        self.queues = FixedArray(count: queueCount) { _ in nil }
    }

    mutating func begin(_ context: DeviceContext) { self.context = context }

    mutating func attach(_ queue: consuming ActiveQueue) {
        let index = queue.index
        guard queues.indices.contains(index) else { return }
        queues[index] = BlockQueue(queue, counters: counters)
    }

    mutating func detach(_ index: Int) -> ActiveQueue? {
        guard queues.indices.contains(index), let queue = queues[index].take() else { return nil }
        return queue.release()
    }

    mutating func end() { context = nil }

    mutating func run(until stop: EventFD) {
        guard let context else { return }
        quiet = 0
        do {
            try watch(stop)
            try loop(context)
        } catch {
            context.fail(queue: 0, "its worker cannot go on (\(error))")
        }
        finishAll(context)
        unwatch(stop)
    }

    private mutating func watch(_ stop: EventFD) throws(SystemError) {
        try poller.add(stop.rawValue, token: Self.stopToken)
        for index in queues.indices { try queues[index]?.watchKick(poller) }
    }

    /// Undoes `watch`, however far it came.
    private mutating func unwatch(_ stop: EventFD) {
        for index in queues.indices { queues[index]?.unwatchKick(poller) }
        try? poller.remove(stop.rawValue)
    }

    private mutating func loop(_ context: DeviceContext) throws(SystemError) {
        // One bit per queue that may have requests; at first all.
        var pending = UInt64.max
        while true {
            pending = try serve(pending, context)
            guard window.isWanted, pending == 0 else {
                if try !listen(&pending, sleeps: pending == 0) { return }
                continue
            }
            let begin = monotonicNanoseconds()
            switch try keepLooking(from: begin, &pending) {
            case .stopped: return
            case .work: continue
            case .nothing: break
            }
            rest(&pending)
            if try !listen(&pending, sleeps: pending == 0) { return }
            window.adapt(afterWaiting: monotonicNanoseconds() &- begin)
        }
    }

    /// Hears of doorbells and completions; `sleeps`: waits until there is one. False when the worker has to stop.
    private func listen(_ pending: inout UInt64, sleeps: Bool) throws(SystemError) -> Bool {
        var stopped = false
        var kicked: UInt64 = 0
        try poller.wait(timeoutMilliseconds: sleeps ? nil : 0) { event in
            switch event.token {
            case Self.stopToken: stopped = true
            case Self.completionToken: break
            default: kicked |= 1 << event.token
            }
        }
        pending |= kicked
        return !stopped
    }

    /// What came of looking.
    private enum Sight {
        case work
        case nothing
        case stopped
    }

    /// Looks at rings and completions for as long as the window says. Of a starved queue only a completion is of use.
    private mutating func keepLooking(from begin: UInt64, _ pending: inout UInt64) throws(SystemError) -> Sight {
        guard window.length > 0 else { return .nothing }
        while true {
            for index in queues.indices where starved & 1 << UInt64(index) == 0 && queues[index]?.hasRequests == true {
                pending |= 1 << UInt64(index)
            }
            let now = monotonicNanoseconds()
            if now >= nextLook {
                nextLook = now &+ Self.lookInterval
                if try !listen(&pending, sleeps: false) { return .stopped }
            }
            if pending != 0 || engine.hasCompletion { return .work }
            if now &- begin >= window.length { return .nothing }
        }
    }

    /// Asks the drivers to ring again; who has been faster than that is in `pending`.
    private mutating func rest(_ pending: inout UInt64) {
        for index in queues.indices where quiet & 1 << UInt64(index) != 0 {
            if queues[index]?.rest() == true { pending |= 1 << UInt64(index) }
        }
        quiet = 0
    }

    /// One round over the queues in `pending`; returns those that have to be served again without a kick.
    private mutating func serve(_ pending: UInt64, _ context: DeviceContext) throws(SystemError) -> UInt64 {
        var again: UInt64 = 0
        var full: UInt64 = starved
        let keepsLooking = window.length > 0
        for index in queues.indices where (pending | full) & 1 << UInt64(index) != 0 {
            switch queues[index]?.takeRequests(&engine, backend, context, quietly: keepsLooking) {
            case .more?: again |= 1 << UInt64(index)
            case .full?: full |= 1 << UInt64(index)
            case .drained?, nil:
                full &= ~(1 << UInt64(index))
                if keepsLooking { quiet |= 1 << UInt64(index) }
            }
        }
        try submit(waitingFor: 0)
        try reap()
        publish(context)
        starved = full
        // A queue without a free slot goes on as soon as one of its requests completes, which may have happened just now.
        for index in queues.indices where full & 1 << UInt64(index) != 0 {
            if queues[index]?.hasFreeSlot == true { again |= 1 << UInt64(index) }
        }
        return again
    }

    /// The queues that were left with requests because all their slots were taken. Looked at in every round.
    private var starved: UInt64 = 0

    /// Hands over what was queued, as often as it takes: a kernel that is short of memory, or of room for completions, says so and takes it
    /// later. Every round takes a completion, of which there are only so many, or waits. An error of another kind ends it.
    private mutating func submit(waitingFor minimum: Int) throws(SystemError) {
        var wanted = minimum
        while true {
            do throws(SystemError) { return try engine.submit(waitingFor: wanted) } catch {
                guard error.errno == .wouldBlock || error.errno == .busy else { throw error }
            }
            if takeCompletions() {
                // What was waited for has come.
                wanted = 0
            } else {
                engine.waitForCompletion(atMost: Self.retryInterval)
            }
        }
    }

    private mutating func reap() throws(SystemError) {
        takeCompletions()
        // Requests that take several steps have queued their next one.
        try submit(waitingFor: 0)
    }

    /// Takes all completions that are there; false when there is none.
    @discardableResult
    private mutating func takeCompletions() -> Bool {
        var found = false
        while let completion = engine.nextCompletion() {
            found = true
            let index = Int(truncatingIfNeeded: completion.token >> 32)
            let slot = Int(truncatingIfNeeded: completion.token & 0xffff_ffff)
            guard queues.indices.contains(index) else { continue }
            queues[index]?.finish(slot, completion.result, &engine, backend)
        }
        return found
    }

    private mutating func publish(_ context: DeviceContext) {
        for index in queues.indices { queues[index]?.publish(context) }
    }

    private mutating func hasInFlight() -> Bool {
        for index in queues.indices where queues[index]?.isIdle == false { return true }
        return false
    }

    /// Waits for everything that the kernel still does in guest memory.
    private mutating func finishAll(_ context: DeviceContext) {
        do {
            while hasInFlight() {
                try submit(waitingFor: 1)
                try reap()
            }
        } catch {
            context.fail(queue: 0, "requests in flight cannot be finished (\(error))")
        }
        publish(context)
    }
}
