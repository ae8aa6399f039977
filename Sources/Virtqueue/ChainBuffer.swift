/// The buffers of one request: preallocated once, filled by `DeviceQueue.pop`, read and written by the device, and used again.
///
/// Nothing in it lies in shared memory: every descriptor was copied once and checked, so a driver that changes its tables afterwards
/// changes nothing here. A device keeps one for each request that it can have in flight.
@safe
public struct ChainBuffer: ~Copyable {
    /// All that there is to know, behind one pointer: a chain is passed around for each request, and a large struct would be copied.
    @usableFromInline let state: UnsafeMutablePointer<ChainState>

    /// Room for chains of up to `capacity` segments (at least 1), 16 bytes each.
    @inlinable
    public init(capacity: Int) {
        unsafe state = UnsafeMutablePointer<ChainState>.allocate(capacity: 1)
        unsafe state.initialize(to: ChainState(capacity: max(capacity, 1)))
    }

    @inlinable
    deinit {
        unsafe state.pointee.segments.deallocate()
        unsafe state.deallocate()
    }

    /// The most segments that a chain may have; `pop` refuses a longer one.
    @inlinable public var capacity: Int { unsafe state.pointee.capacity }

    /// The buffer id (packed) or index of the head descriptor (split).
    @inlinable public var head: UInt16 { unsafe state.pointee.id }

    /// Device-readable bytes that have not been consumed yet.
    @inlinable public var readableBytes: Int { unsafe state.pointee.input.bytes }

    /// Device-writable bytes that have not been consumed yet.
    @inlinable public var writableBytes: Int { unsafe state.pointee.output.bytes }

    /// Bytes that `write`, `writeInteger` and `skipWritable` have consumed. At most 2³²−1, since no chain has more.
    @inlinable public var written: UInt32 { unsafe state.pointee.written }

    /// The device-readable segments that have not been consumed yet.
    @inlinable
    public var readable: Span<HostRange> {
        @_lifetime(borrow self)
        get { unsafe span(state.pointee.input) }
    }

    /// The device-writable segments that have not been consumed yet.
    @inlinable
    public var writable: Span<HostRange> {
        @_lifetime(borrow self)
        get { unsafe span(state.pointee.output) }
    }

    @inlinable
    @_lifetime(borrow self)
    func span(_ half: ChainHalf) -> Span<HostRange> {
        unsafe _overrideLifetime(state.pointee.span(half), borrowing: self)
    }

    /// Forgets the chain, so that nothing of it can be taken for the next one's.
    @inlinable
    mutating func clear() {
        unsafe state.pointee.clear()
    }
}

// Sendable: it owns its memory alone, and the ranges in it are Sendable.
extension ChainBuffer: @unchecked Sendable {}

/// What a `ChainBuffer` holds.
@safe @usableFromInline
struct ChainState {
    /// The device-readable segments, then the device-writable ones.
    @usableFromInline let segments: UnsafeMutablePointer<HostRange>
    @usableFromInline let capacity: Int
    @usableFromInline var input = ChainHalf()
    @usableFromInline var output = ChainHalf()
    /// Where the writable segments begin, consumed ones included.
    @usableFromInline var firstWritable = 0
    /// What `takeWritableTail` has given away.
    @usableFromInline var tail: HostRange?
    @usableFromInline var written: UInt32 = 0
    @usableFromInline var id: UInt16 = 0
    /// The slots of the descriptor ring that the chain takes (1 in the split format); 0 when there is no chain.
    @usableFromInline var slots: UInt16 = 0
    /// Where the chain was popped.
    @usableFromInline var origin = RingCursor(index: 0, wrap: true)
    /// What the queue's log of chains in flight calls the chain, and whether it came from there.
    @usableFromInline var key: UInt16 = 0
    @usableFromInline var isAgain = false

    @inlinable
    init(capacity: Int) {
        unsafe segments = UnsafeMutablePointer<HostRange>.allocate(capacity: capacity)
        self.capacity = capacity
    }

    @inlinable
    mutating func clear() {
        input = ChainHalf()
        output = ChainHalf()
        firstWritable = 0
        tail = nil
        written = 0
        slots = 0
    }

    /// Consumes up to `count` readable bytes; see `ChainHalf.consume`.
    @inlinable
    mutating func consumeReadable(_ count: Int, _ body: (HostRange) -> Void) -> Int {
        unsafe input.consume(count, of: segments, body)
    }

    /// Consumes up to `count` writable bytes; see `ChainHalf.consume`.
    @inlinable
    mutating func consumeWritable(_ count: Int, _ body: (HostRange) -> Void) -> Int {
        let consumed = unsafe output.consume(count, of: segments, body)
        written &+= UInt32(truncatingIfNeeded: consumed)
        return consumed
    }

    @inlinable @_lifetime(borrow self)
    func span(_ half: ChainHalf) -> Span<HostRange> {
        let elements = unsafe UnsafeBufferPointer(start: segments + half.first, count: half.end - half.first)
        return unsafe _overrideLifetime(Span(_unsafeElements: elements), borrowing: self)
    }

    /// Whether nothing of the chain was consumed, in either half.
    @inlinable
    var isUntouched: Bool { written == 0 && output.offset == 0 && input.first == 0 && input.offset == 0 && tail == nil }

    /// The most that a device can have written.
    @inlinable
    var mostWritten: UInt32 { written &+ UInt32(truncatingIfNeeded: output.bytes) &+ UInt32(truncatingIfNeeded: tail?.count ?? 0) }

    /// See `ChainBuffer.takeWritableTail`.
    @inlinable
    mutating func takeWritableTail(_ count: Int) -> HostRange? {
        guard count > 0, tail == nil, output.first < output.end else { return nil }
        let last = unsafe segments[output.end - 1]
        guard last.count >= count else { return nil }
        let taken = last.slice(from: last.count - count)
        let rest = last.slice(from: 0, count: last.count - count)
        // A segment of which a part was consumed stays, if empty, so that the part is still marked as written.
        if rest.count > 0 || (output.end - 1 == output.first && output.offset > 0) {
            unsafe segments[output.end - 1] = rest
        } else {
            output.end -= 1
        }
        output.bytes -= count
        tail = taken
        return taken
    }

    /// Tells `memory` about every writable byte, consumed or not, and about the tail.
    ///
    /// Not only about those that the device counts as written: a read that failed, or a frame that nobody wanted, may have left bytes behind
    /// that no count covers.
    @inlinable
    func markWritable<Memory: QueueMemory>(in memory: borrowing Memory) {
        for index in firstWritable..<max(output.end, firstWritable) {
            var segment = unsafe segments[index]
            if index == output.first {
                segment = unsafe HostRange(base: segment.base - output.offset, count: segment.count + output.offset)
            }
            memory.markWritten(segment)
        }
        if let tail { memory.markWritten(tail) }
    }
}

/// What is left of the readable or of the writable segments. All segments are whole, but for the first one, which begins `offset` bytes
/// late once part of it was consumed.
@usableFromInline
struct ChainHalf {
    @usableFromInline var first: Int
    @usableFromInline var end: Int
    @usableFromInline var offset: Int
    @usableFromInline var bytes: Int

    @inlinable
    init(first: Int = 0, end: Int = 0, bytes: Int = 0) {
        self.first = first
        self.end = end
        self.offset = 0
        self.bytes = bytes
    }

    /// Consumes up to `count` bytes and hands them to `body` piece by piece, in order; returns how many.
    @inlinable
    mutating func consume(_ count: Int, of segments: UnsafeMutablePointer<HostRange>, _ body: (HostRange) -> Void) -> Int {
        var left = min(max(count, 0), bytes)
        let total = left
        while left > 0, first < end {
            let segment = unsafe segments[first]
            if left < segment.count {
                body(segment.slice(from: 0, count: left))
                unsafe segments[first] = segment.slice(from: left)
                offset += left
                left = 0
            } else {
                body(segment)
                // The whole segment again, for `DeviceQueue.complete`, which marks what was written.
                unsafe segments[first] = HostRange(base: segment.base - offset, count: segment.count + offset)
                offset = 0
                first += 1
                left -= segment.count
            }
        }
        bytes -= total - left
        return total - left
    }
}
