import Host
import VirtioDriver
import Virtqueue

/// Measures a disk: the same kind of request again and again, so many at a time, for a while.
public struct DiskBench: Sendable {
    /// A kind of load.
    public enum Load: String, Sendable, CaseIterable {
        /// Reads anywhere.
        case randread
        /// Writes anywhere. Destroys what is on the disk.
        case randwrite
        /// Reads from the beginning on.
        case read
        /// Writes from the beginning on. Destroys what is on the disk.
        case write

        /// Whether it writes.
        public var isWrite: Bool { self == .randwrite || self == .write }
        var isSequential: Bool { self == .read || self == .write }
    }

    /// What is asked for.
    public let load: Load
    /// Requests at a time.
    public let depth: Int
    /// Bytes of a request.
    public let size: Int
    /// Answers that are waited for at a time, at least 1: the disk wakes us for so many of them.
    public let batch: Int

    /// A measurement. Without a `batch` it is an eighth of the depth: programs that have many requests under way take answers together.
    public init(load: Load, depth: Int, size: Int, batch: Int? = nil) {
        self.load = load
        self.depth = depth
        self.size = size
        self.batch = batch ?? max(depth / 8, 1)
    }

    /// What was measured.
    public struct Result: Sendable {
        /// Requests that were answered.
        public let requests: UInt64
        /// The time from the first request to the last answer, in nanoseconds.
        public let nanoseconds: UInt64
        /// Half of the requests took at most this from their making to their answer, in nanoseconds.
        public let median: UInt64
        /// 99 of 100 requests took at most this, in nanoseconds.
        public let percentile99: UInt64

        /// Requests per second.
        public var rate: Double { nanoseconds == 0 ? 0 : Double(requests) * 1e9 / Double(nanoseconds) }
    }

    /// Runs for so many milliseconds.
    public func run(on disk: OpenDisk, milliseconds: UInt64) throws(VMError) -> Result {
        guard size > 0, depth > 0, UInt64(size) <= disk.information.capacity else {
            throw VMError(.usage, "\(disk.name): the disk is smaller than one request.")
        }
        let memory = try disk.makeBuffers(byteCount: size * depth)
        // Data that are not all the same.
        var random = SystemRandomNumberGenerator()
        for offset in stride(from: 0, to: memory.count, by: 8) { memory.range.store(random.next() as UInt64, at: offset) }
        return try disk.use { (queue) throws(DriverError) in
            // The first tenth warms up.
            _ = try measure(&queue, memory, disk.information.capacity, milliseconds / 10 + 1)
            return try measure(&queue, memory, disk.information.capacity, milliseconds)
        }
    }

    private func measure(
        _ queue: inout BlockQueue, _ memory: SharedMemory, _ capacity: UInt64, _ milliseconds: UInt64
    ) throws(DriverError) -> Result {
        let places = capacity / UInt64(size)
        var generator = FastRandom(seed: 1)
        var position: UInt64 = 0
        var began = Array(repeating: UInt64(0), count: depth)
        var latencies = LatencyHistogram()
        let start = monotonicNanoseconds()
        let end = start + milliseconds * 1_000_000
        var now = start
        func request(_ slot: Int, _ queue: inout BlockQueue) throws(DriverError) {
            let place = load.isSequential ? position % places : generator.next() % places
            position += 1
            let buffer = memory.range.slice(from: slot * size, count: size)
            if load.isWrite {
                try queue.write(at: place * UInt64(size), from: buffer, context: UInt64(slot))
            } else {
                try queue.read(at: place * UInt64(size), into: buffer, context: UInt64(slot))
            }
            began[slot] = now
        }
        for slot in 0..<depth { try request(slot, &queue) }
        queue.submit()
        var requests: UInt64 = 0
        while queue.inFlight > 0 {
            guard try queue.wait(milliseconds: BlockQueue.patience, for: batch) else { throw .timedOut }
            now = monotonicNanoseconds()
            while let completion = try queue.nextCompletion() {
                guard completion.status == .ok else { throw .failed(completion.status) }
                guard let slot = Int(exactly: completion.context), began.indices.contains(slot) else { continue }
                requests += 1
                latencies.add(now &- began[slot])
                if now < end { try request(slot, &queue) }
            }
            queue.submit()
        }
        return Result(
            requests: requests, nanoseconds: now &- start, median: latencies.value(at: 0.5), percentile99: latencies.value(at: 0.99))
    }
}

/// Durations by size, to within an eighth.
struct LatencyHistogram {
    private var counts = Array(repeating: UInt64(0), count: 64 * 8)
    private var total: UInt64 = 0

    mutating func add(_ nanoseconds: UInt64) {
        counts[Self.bucket(nanoseconds)] += 1
        total += 1
    }

    /// What so large a part of them did not exceed.
    func value(at part: Double) -> UInt64 {
        var left = UInt64(Double(total) * part)
        for index in counts.indices {
            if counts[index] > left { return Self.upper(index) }
            left -= counts[index]
        }
        return 0
    }

    /// Eight buckets for each power of two.
    private static func bucket(_ value: UInt64) -> Int {
        guard value >= 8 else { return Int(value) }
        let exponent = 63 - value.leadingZeroBitCount
        return (exponent - 2) * 8 + Int(value >> UInt64(exponent - 3)) - 8
    }

    private static func upper(_ bucket: Int) -> UInt64 {
        guard bucket >= 8 else { return UInt64(bucket) }
        let (eighths, shift) = (UInt64(bucket % 8 + 9), bucket / 8 - 1)
        return eighths.leadingZeroBitCount >= shift ? eighths << UInt64(shift) : .max
    }
}

/// Numbers that look random, quickly (xorshift64).
struct FastRandom {
    private var state: UInt64
    init(seed: UInt64) { state = max(seed, 1) }

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }
}
