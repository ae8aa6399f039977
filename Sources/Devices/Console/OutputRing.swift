import Host
import Virtqueue

/// Bytes that nobody has taken yet, at most `capacity` of them: when more come, the oldest go.
struct OutputRing: ~Copyable, Sendable {
    /// The most bytes that are kept.
    let capacity: Int
    private(set) var count = 0
    private var first = 0
    private var storage: ByteBuffer

    init(capacity: Int) {
        self.capacity = max(capacity, 1)
        storage = ByteBuffer(count: self.capacity)
    }

    /// Bytes that fit without a loss.
    var room: Int { capacity - count }

    /// Appends bytes; true when some were lost: older ones, or the first of these.
    @discardableResult
    mutating func append(_ bytes: RawSpan) -> Bool {
        let kept = bytes.extracting(last: min(bytes.byteCount, capacity))
        let lost = makeRoom(for: kept.byteCount) || kept.byteCount < bytes.byteCount
        var copied = 0
        while copied < kept.byteCount {
            let end = (first + count) % capacity
            let part = storage.copy(from: kept.extracting(droppingFirst: copied), to: end)
            copied += part
            count += part
        }
        return lost
    }

    /// Consumes and appends up to `limit` bytes that the device may read; true when some were lost.
    @discardableResult
    mutating func append(from chain: inout ReadableHalf, limit: Int = .max) -> Bool {
        var left = min(limit, chain.count)
        let surplus = max(left - capacity, 0)
        chain.skip(surplus)
        left -= surplus
        let lost = makeRoom(for: left) || surplus > 0
        while left > 0 {
            let end = (first + count) % capacity
            var space = storage.mutableBytes(from: end, count: left)
            let part = chain.read(into: &space)
            guard part > 0 else { break }
            count += part
            left -= part
        }
        return lost
    }

    /// Drops the oldest bytes until `number` (at most the capacity) fit; true when there were any to drop.
    private mutating func makeRoom(for number: Int) -> Bool {
        let surplus = max(number - room, 0)
        removeFirst(surplus)
        return surplus > 0
    }

    /// The oldest bytes, as many as lie in one piece.
    var front: HostRange { storage.range(from: first, count: min(count, capacity - first)) }

    /// Forgets the oldest bytes.
    mutating func removeFirst(_ number: Int) {
        let number = min(max(number, 0), count)
        first = (first + number) % capacity
        count -= number
    }
}
