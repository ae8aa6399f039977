/// The buffers of one request: preallocated once, filled by `DeviceQueue.pop`, read and written by the device, and used again.
///
/// Nothing in it lies in shared memory: every descriptor was copied once and checked, so a driver that changes its tables afterwards
/// changes nothing here. A device keeps one for each request that it can have in flight.
@safe
public struct ChainBuffer: ~Copyable {
    /// The device-readable segments, then the device-writable ones.
    @usableFromInline let segments: UnsafeMutablePointer<HostRange>
    /// The most segments that a chain may have; `pop` refuses a longer one.
    public let capacity: Int
    @usableFromInline var input: ChainHalf
    @usableFromInline var output: ChainHalf
    /// Where the writable segments begin, consumed ones included.
    @usableFromInline var firstWritable: Int
    /// What `takeWritableTail` has given away.
    @usableFromInline var tail: HostRange?
    @usableFromInline var consumed: UInt32
    @usableFromInline var id: UInt16
    /// The slots of the descriptor ring that the chain takes (packed), at least 1.
    @usableFromInline var slots: UInt16
    /// Where the chain was popped.
    @usableFromInline var origin: RingCursor

    /// Room for chains of up to `capacity` segments (at least 1), 16 bytes each.
    @inlinable
    public init(capacity: Int) {
        let capacity = max(capacity, 1)
        unsafe self.segments = UnsafeMutablePointer<HostRange>.allocate(capacity: capacity)
        self.capacity = capacity
        self.input = ChainHalf()
        self.output = ChainHalf()
        self.firstWritable = 0
        self.tail = nil
        self.consumed = 0
        self.id = 0
        self.slots = 0
        self.origin = RingCursor(index: 0, wrap: true)
    }

    @inlinable
    deinit {
        unsafe segments.deallocate()
    }

    /// The buffer id (packed) or index of the head descriptor (split).
    @inlinable public var head: UInt16 { id }

    /// Device-readable bytes that have not been consumed yet.
    @inlinable public var readableBytes: Int { input.bytes }

    /// Device-writable bytes that have not been consumed yet.
    @inlinable public var writableBytes: Int { output.bytes }

    /// Bytes that `write`, `writeInteger` and `skipWritable` have consumed. At most 2³²−1, since no chain has more.
    @inlinable public var written: UInt32 { consumed }

    /// The device-readable segments that have not been consumed yet.
    @inlinable
    public var readable: Span<HostRange> {
        @_lifetime(borrow self)
        get { span(input) }
    }

    /// The device-writable segments that have not been consumed yet.
    @inlinable
    public var writable: Span<HostRange> {
        @_lifetime(borrow self)
        get { span(output) }
    }

    @inlinable
    @_lifetime(borrow self)
    func span(_ half: ChainHalf) -> Span<HostRange> {
        let elements = unsafe UnsafeBufferPointer(start: segments + half.first, count: half.end - half.first)
        let span = unsafe Span(_unsafeElements: elements)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// Forgets the chain, so that nothing of it can be taken for the next one's.
    @inlinable
    mutating func clear() {
        input = ChainHalf()
        output = ChainHalf()
        firstWritable = 0
        tail = nil
        consumed = 0
        slots = 0
    }
}

// Sendable: it owns its array alone, and the ranges in it are Sendable.
extension ChainBuffer: @unchecked Sendable {}

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
