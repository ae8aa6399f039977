/// A place in a ring. Split: a free-running 16-bit index. Packed: a slot below the queue size and the wrap counter of the round.
@usableFromInline
struct RingCursor: Equatable, Sendable {
    @usableFromInline var index: UInt16
    @usableFromInline var wrap: Bool

    @inlinable
    init(index: UInt16, wrap: Bool) {
        self.index = index
        self.wrap = wrap
    }

    /// Moves on by `count` (at most `size`) slots of a packed ring, whose size need not be a power of two.
    @inlinable
    mutating func advancePacked(by count: UInt16, size: UInt16) {
        // Both are at most 32768 and index is below size, so the sum fits.
        index &+= count
        if index >= size {
            index &-= size
            wrap.toggle()
        }
    }

    /// Undoes `advancePacked`.
    @inlinable
    mutating func retreatPacked(by count: UInt16, size: UInt16) {
        if index < count {
            index &+= size
            wrap.toggle()
        }
        index &-= count
    }

    /// How many slots of a packed ring lie from `earlier` to here, or nil when that would be more than the whole ring.
    @inlinable
    func packedDistance(from earlier: RingCursor, size: UInt16) -> UInt16? {
        if wrap == earlier.wrap { return index >= earlier.index ? index &- earlier.index : nil }
        return index <= earlier.index ? size &- earlier.index &+ index : nil
    }
}
