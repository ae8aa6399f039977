import Host
import Virtio
import Virtqueue

/// Fills buffers with random bytes, as fast as the rate limit allows.
struct EntropyService: AsyncDevice, ~Copyable {
    /// A request gets no more than this at once, so that one does not hold up the thread for seconds. Shorter answers are allowed (5.4.6.2).
    private static var mostBytes: Int { 65536 }
    /// With an empty bucket, wait until this much is there: not one wake-up per byte.
    private static var leastBytes: UInt64 { 64 }

    private let counters: EntropyCounters
    private var bucket: TokenBucket?

    init(bytesPerSecond: UInt64?, counters: EntropyCounters) {
        self.counters = counters
        bucket = bytesPerSecond.map { TokenBucket(capacity: $0, perSecond: $0, now: monotonicNanoseconds()) }
    }

    mutating func run(_ device: RunningDevice) async {
        guard var stream = try? device.takeStream(0) else { return }
        let timer = Waiter(device.loop)
        while var chain = await stream.next() {
            let now = monotonicNanoseconds()
            let wanted = UInt64(clamping: min(chain.writable.count, Self.mostBytes))
            let granted = bucket?.take(upTo: wanted, now: now) ?? wanted
            guard granted > 0 || wanted == 0 else {
                // The queue keeps the request until the bucket has something; the doorbell would not help.
                chain.putBack()
                stream.flush()
                _ = await timer.wait(until: now + (bucket?.nanoseconds(until: Self.leastBytes, now: now) ?? 0))
                continue
            }
            do {
                try Self.fill(&chain, Int(clamping: granted))
            } catch {
                return device.context.fail(queue: 0, "there is no randomness (\(error))")
            }
            counters.requests.add()
            counters.bytes.add(UInt64(chain.writable.written))
            chain.complete()
        }
    }

    /// Writes random bytes to the chain.
    private static func fill(_ chain: inout GuestChain, _ count: Int) throws(SystemError) {
        var left = count
        while left > 0, chain.writable.count > 0 {
            let filled = try fillWithRandomBytes(chain.writable.ranges[0].slice(from: 0, count: left))
            left -= chain.writable.skip(filled)
        }
    }
}
