import Testing
import Virtio

@Suite("Token bucket")
struct TokenBucketTests {
    private static let second: UInt64 = 1_000_000_000

    @Test("Begins full, refills at its rate, holds no more than its capacity")
    func refill() {
        var bucket = TokenBucket(capacity: 10, perSecond: 5, now: 100)
        #expect(bucket.take(upTo: 4, now: 100) == 4)
        #expect(bucket.take(upTo: 100, now: 100) == 6)
        #expect(bucket.take(upTo: 1, now: 100) == 0)
        #expect(bucket.take(upTo: 100, now: 100 + Self.second) == 5)
        #expect(bucket.take(upTo: 100, now: 100 + 100 * Self.second) == 10)
    }

    @Test("Frequent looks lose nothing to rounding")
    func frequentLooks() {
        var bucket = TokenBucket(capacity: 1000, perSecond: 3, now: 0)
        #expect(bucket.take(upTo: 1000, now: 0) == 1000)
        var total: UInt64 = 0
        for now in stride(from: UInt64(0), through: 10 * Self.second, by: 1_000_003) { total += bucket.take(upTo: 1000, now: now) }
        total += bucket.take(upTo: 1000, now: 10 * Self.second)
        #expect(total == 30)
    }

    @Test("Says when enough will be there, and then it is")
    func waiting() {
        for rate: UInt64 in [1, 3, 7, 999, 1_000_000_000, .max] {
            var bucket = TokenBucket(capacity: 50, perSecond: rate, now: 0)
            _ = bucket.take(upTo: 50, now: 0)
            let wait = bucket.nanoseconds(until: 20, now: 0)
            #expect(wait > 0)
            #expect(bucket.take(upTo: 20, now: wait) == 20)
            #expect(bucket.nanoseconds(until: 0, now: wait) == 0)
        }
        var full = TokenBucket(capacity: 5, perSecond: 1, now: 0)
        #expect(full.nanoseconds(until: 1000, now: 0) == 0)
    }

    @Test("Extremes: time that goes back or jumps, the largest numbers, zero")
    func extremes() {
        var bucket = TokenBucket(capacity: .max, perSecond: .max, now: .max)
        #expect(bucket.take(upTo: .max, now: .max) == .max)
        #expect(bucket.take(upTo: .max, now: 0) == 0)
        var other = TokenBucket(capacity: .max, perSecond: .max, now: 0)
        #expect(other.take(upTo: .max, now: .max) == .max)
        #expect(other.take(upTo: 1, now: .max) == 0)
        var tiny = TokenBucket(capacity: 0, perSecond: 0, now: 0)
        #expect(tiny.take(upTo: 5, now: 0) == 1)
        #expect(tiny.take(upTo: 5, now: 0) == 0)
    }
}
