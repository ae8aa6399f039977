/// What is asked of a disk: one kind of request, again and again.
struct Load {
    let name: String
    let isWrite: Bool
    /// Bytes of a request.
    let bytes: Int
    /// Requests that are with the back-end at a time.
    let depth: Int
    /// Whether a request begins where the one before it ended, or anywhere.
    let isSequential: Bool

    /// Answers that are waited for at a time, as `swvmm blk bench` does.
    var batch: Int { max(depth / 8, 1) }

    static let all = [
        Load(name: "read-4k-1", isWrite: false, bytes: 4096, depth: 1, isSequential: false),
        Load(name: "read-4k-32", isWrite: false, bytes: 4096, depth: 32, isSequential: false),
        Load(name: "write-4k-1", isWrite: true, bytes: 4096, depth: 1, isSequential: false),
        Load(name: "write-4k-32", isWrite: true, bytes: 4096, depth: 32, isSequential: false),
        Load(name: "read-256k", isWrite: false, bytes: 256 << 10, depth: 4, isSequential: true),
        Load(name: "write-256k", isWrite: true, bytes: 256 << 10, depth: 4, isSequential: true),
    ]

    static let mostDepth = all.map(\.depth).max() ?? 1
    static let mostBytes = all.map { $0.bytes * $0.depth }.max() ?? 0
}

/// What one run of a load was like.
struct Sample {
    let requests: Int
    let nanoseconds: UInt64
    /// What the back-end's processes have run meanwhile.
    let processorNanoseconds: UInt64

    /// Requests per second.
    var rate: Double { Double(requests) * 1e9 / Double(nanoseconds) }
    /// Processor time of the back-end for one request, in µs.
    var processorTime: Double { Double(processorNanoseconds) / 1e3 / Double(requests) }
}

/// The samples of a load on one back-end.
struct Result {
    let load: Load
    let subject: String
    var samples: [Sample] = []

    var rate: Double { median(samples.map(\.rate)) }
    var megabytes: Double { rate * Double(load.bytes) / 1e6 }
    var processorTime: Double { median(samples.map(\.processorTime)) }
}

func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return .nan }
    let half = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
}

/// The same numbers in the same order for the same seed (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}
