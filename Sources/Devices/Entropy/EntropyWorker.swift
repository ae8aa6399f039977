import Host
import Virtio
import Virtqueue

/// Fills buffers with random bytes, as fast as the rate limit allows.
struct EntropyWorker: QueueWorkload, ~Copyable {
    /// A request gets no more than this at once, so that one does not hold up the thread for seconds. Shorter answers are allowed (5.4.6.2).
    private static var mostBytes: Int { 65536 }
    /// With an empty bucket, wait until this much is there: not one wake-up per byte.
    private static var leastBytes: UInt64 { 64 }

    private let poller: Poller
    private let timer: TimerFD
    private let counters: EntropyCounters
    private var bucket: TokenBucket?
    private var chain: ChainBuffer
    private var queue: ActiveQueue?
    private var context: DeviceContext?
    private var isBroken = false

    private enum Token {
        static let stop: UInt64 = 0
        static let kick: UInt64 = 1
        static let timer: UInt64 = 2
    }

    init(queueSize: UInt16, bytesPerSecond: UInt64?, counters: EntropyCounters) throws(SystemError) {
        let poller = try Poller()
        let timer = try TimerFD()
        try poller.add(timer.rawValue, token: Token.timer)
        self.poller = poller
        self.timer = timer
        self.counters = counters
        chain = ChainBuffer(capacity: Int(queueSize))
        bucket = bytesPerSecond.map { TokenBucket(capacity: $0, perSecond: $0, now: monotonicNanoseconds()) }
    }

    mutating func begin(_ context: DeviceContext) { self.context = context }

    mutating func attach(_ queue: consuming ActiveQueue) {
        isBroken = false
        self.queue = consume queue
    }

    mutating func detach(_ index: Int) -> ActiveQueue? { queue.take() }

    mutating func end() { context = nil }

    mutating func run(until stop: EventFD) {
        guard let context, var queue = queue.take() else { return }
        do {
            try poller.add(stop.rawValue, token: Token.stop)
            try poller.add(queue.kick.rawValue, token: Token.kick)
            try serve(&queue, context)
        } catch {
            context.fail(queue: 0, "its worker cannot go on (\(error))")
        }
        try? poller.remove(queue.kick.rawValue)
        try? poller.remove(stop.rawValue)
        self.queue = consume queue
    }

    private mutating func serve(_ queue: inout ActiveQueue, _ context: DeviceContext) throws(SystemError) {
        var more = true
        while true {
            if more { more = try answer(&queue, context) }
            var stopped = false
            var ready = false
            try poller.wait(timeoutMilliseconds: more ? 0 : nil) { event in
                if event.token == Token.stop { stopped = true } else { ready = true }
            }
            if stopped { return }
            if ready {
                queue.kick.drain()
                timer.drain()
                more = true
            }
        }
    }

    /// Answers up to a queue's length of requests; true when there may be more that can be answered now.
    private mutating func answer(_ queue: inout ActiveQueue, _ context: DeviceContext) throws(SystemError) -> Bool {
        guard !isBroken else { return false }
        var more = true
        var isThrottled = false
        do throws(QueueFault) {
            queue.ring.disableNotifications()
            for _ in 0..<queue.ring.size {
                guard try queue.ring.pop(into: &chain) else {
                    more = try queue.ring.enableNotifications()
                    break
                }
                let wanted = UInt64(clamping: min(chain.writableBytes, Self.mostBytes))
                let granted = bucket?.take(upTo: wanted, now: monotonicNanoseconds()) ?? wanted
                if granted == 0, wanted > 0 {
                    // The queue keeps the request until the bucket has something; the doorbell would not help.
                    queue.ring.rewind(chain)
                    more = false
                    isThrottled = true
                    break
                }
                fill(Int(clamping: granted), context)
                counters.requests.add()
                counters.bytes.add(UInt64(chain.written))
                queue.ring.complete(chain, written: chain.written)
            }
        } catch {
            isBroken = true
            more = false
            context.fail(queue: queue.index, error)
        }
        if queue.ring.publish() { context.interrupt.signalQueue(queue.index) }
        if isThrottled, let wait = bucket?.nanoseconds(until: Self.leastBytes, now: monotonicNanoseconds()) {
            try timer.set(nanoseconds: wait)
        }
        return more
    }

    /// Writes random bytes to the chain.
    private mutating func fill(_ count: Int, _ context: DeviceContext) {
        var left = count
        while left > 0, chain.writable.count > 0 {
            do {
                let filled = try fillWithRandomBytes(chain.writable[0].slice(from: 0, count: left))
                guard chain.skipWritable(filled) > 0 else { return }
                left -= filled
            } catch {
                isBroken = true
                return context.fail(queue: 0, "there is no randomness (\(error))")
            }
        }
    }
}
