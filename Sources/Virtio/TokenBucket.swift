/// A rate limit: tokens come in at a steady rate up to a capacity, and whoever wants to do something takes some. Pure: the caller brings the
/// time.
public struct TokenBucket: Sendable, Equatable {
    /// The most tokens that can lie in the bucket.
    public let capacity: UInt64
    /// How many come in per second.
    public let perSecond: UInt64
    /// What lies in the bucket, in billionths of a token: so that frequent looks lose nothing to rounding.
    private var content: UInt128
    private var last: UInt64

    private static let billion: UInt128 = 1_000_000_000

    /// A full bucket. Both numbers are at least 1; `now` is a monotonic time in nanoseconds.
    public init(capacity: UInt64, perSecond: UInt64, now: UInt64) {
        self.capacity = max(capacity, 1)
        self.perSecond = max(perSecond, 1)
        content = UInt128(max(capacity, 1)) * Self.billion
        last = now
    }

    /// Takes up to `wanted` tokens and returns how many there were. A `now` before the last one counts as the same time.
    public mutating func take(upTo wanted: UInt64, now: UInt64) -> UInt64 {
        refill(now)
        let taken = min(UInt128(wanted), content / Self.billion)
        content -= taken * Self.billion
        return UInt64(truncatingIfNeeded: taken)
    }

    /// How many nanoseconds after `now` there will be `wanted` tokens (at most the capacity); 0 when they are there.
    public mutating func nanoseconds(until wanted: UInt64, now: UInt64) -> UInt64 {
        refill(now)
        let needed = UInt128(min(wanted, capacity)) * Self.billion
        guard needed > content else { return 0 }
        let rate = UInt128(perSecond)
        return UInt64(clamping: (needed - content + rate - 1) / rate)
    }

    private mutating func refill(_ now: UInt64) {
        guard now > last else { return }
        // The product of two 64-bit numbers fits, the sum need not.
        let (sum, overflow) = content.addingReportingOverflow(UInt128(now - last) * UInt128(perSecond))
        content = min(overflow ? .max : sum, UInt128(capacity) * Self.billion)
        last = now
    }
}
