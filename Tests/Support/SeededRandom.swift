/// A small, repeatable source of random numbers (SplitMix64): the same seed gives the same test on every machine.
public struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    /// A source that depends on `seed` alone.
    public init(seed: UInt64) { state = seed }

    /// The next number.
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A number from 0 up to, and without, `limit`; 0 for a limit below 1.
    public mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(max(limit, 1))) }

    /// A number of the range.
    public mutating func within(_ range: ClosedRange<Int>) -> Int { range.lowerBound + below(range.count) }

    /// True once in `n` times.
    public mutating func oneIn(_ n: Int) -> Bool { below(n) == 0 }

    /// One of the values, of which there is one at least.
    public mutating func pick<Value>(_ values: [Value]) -> Value { values[below(values.count)] }
}
