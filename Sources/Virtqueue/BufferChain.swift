/// The buffers of one request, as a driver owns them: first those that the device reads, then those that it writes.
///
/// It cannot be copied, and giving it to a `VirtQueue` takes it away: nobody else can read, write or free its memory until the queue gives
/// it back. A driver makes one for each request that it wants to have in flight and uses it again and again. All memory is made at once,
/// zeroed, each buffer aligned to 16 bytes.
@safe @frozen
public struct BufferChain: ~Copyable {
    /// A `Header`, the ranges of the buffers, their bytes.
    @usableFromInline let memory: UnsafeMutableRawPointer

    @usableFromInline
    struct Header {
        @usableFromInline let readable: Int
        @usableFromInline let count: Int
        @inlinable
        init(readable: Int, count: Int) {
            self.readable = readable
            self.count = count
        }
    }

    @inlinable static var alignment: Int { 16 }
    @inlinable static var firstRange: Int { (MemoryLayout<Header>.size + alignment - 1) & ~(alignment - 1) }

    /// Makes buffers of these sizes in bytes. Sizes below 1 become empty buffers, which no queue takes.
    @inlinable
    public init(readable: [Int], writable: [Int]) {
        let count = readable.count + writable.count
        var bytes = Self.firstRange + MemoryLayout<HostRange>.stride * count
        for size in readable { bytes += Self.rounded(size) }
        for size in writable { bytes += Self.rounded(size) }
        unsafe memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: Self.alignment)
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
        unsafe memory.initializeMemory(as: Header.self, repeating: Header(readable: readable.count, count: count), count: 1)
        let ranges = unsafe (memory + Self.firstRange).bindMemory(to: HostRange.self, capacity: max(count, 1))
        var next = unsafe memory + Self.firstRange + MemoryLayout<HostRange>.stride * count
        for index in 0..<count {
            let size = max(index < readable.count ? readable[index] : writable[index - readable.count], 0)
            unsafe (ranges + index).initialize(to: HostRange(base: next, count: size))
            unsafe next += Self.rounded(size)
        }
    }

    @inlinable
    static func rounded(_ size: Int) -> Int { (max(size, 0) + alignment - 1) & ~(alignment - 1) }

    /// Takes over what `surrender` gave away.
    @inlinable @unsafe
    init(taking memory: UnsafeMutableRawPointer) { unsafe self.memory = memory }

    @inlinable
    deinit { unsafe memory.deallocate() }

    /// Gives the memory away instead of freeing it.
    @inlinable @unsafe
    consuming func surrender() -> UnsafeMutableRawPointer {
        let memory = unsafe self.memory
        discard self
        return unsafe memory
    }

    @inlinable var header: Header { unsafe memory.load(as: Header.self) }

    /// How many buffers there are.
    @inlinable public var count: Int { header.count }

    /// How many of them, the first ones, the device reads. It writes the others.
    @inlinable public var readableCount: Int { header.readable }

    @inlinable
    @_lifetime(borrow self)
    func ranges(_ indices: Range<Int>) -> Span<HostRange> {
        let first = unsafe (memory + Self.firstRange).assumingMemoryBound(to: HostRange.self)
        let elements = unsafe UnsafeBufferPointer(start: first + indices.lowerBound, count: indices.count)
        return unsafe _overrideLifetime(Span(_unsafeElements: elements), borrowing: self)
    }

    /// The buffers that the device reads, and those that it writes.
    @inlinable var readable: Span<HostRange> {
        @_lifetime(borrow self)
        get { ranges(0..<header.readable) }
    }
    @inlinable var writable: Span<HostRange> {
        @_lifetime(borrow self)
        get { ranges(header.readable..<header.count) }
    }

    /// A buffer's place; an empty one for a buffer that there is not.
    @inlinable
    func range(_ index: Int) -> HostRange {
        let all = ranges(0..<header.count)
        return index >= 0 && index < all.count ? all[index] : unsafe HostRange(base: memory, count: 0)
    }

    /// The bytes of buffer `index`, counted from 0; none for a buffer that there is not.
    @inlinable
    @_lifetime(borrow self)
    public func bytes(of index: Int) -> RawSpan {
        let range = range(index)
        return unsafe _overrideLifetime(RawSpan(_unsafeStart: range.base, byteCount: range.count), borrowing: self)
    }

    /// The same, to change them.
    @inlinable
    @_lifetime(&self)
    public mutating func mutableBytes(of index: Int) -> MutableRawSpan {
        let range = range(index)
        return unsafe _overrideLifetime(MutableRawSpan(_unsafeStart: range.base, byteCount: range.count), mutating: &self)
    }

    /// A little-endian integer in buffer `index`, `offset` bytes from its start; nil when it does not lie inside.
    @inlinable
    public func load<T: FixedWidthInteger>(_ type: T.Type = T.self, from index: Int, at offset: Int = 0) -> T? {
        range(index).load(at: offset)
    }

    /// Stores a little-endian integer; false, and nothing stored, when it does not fit inside.
    @inlinable @discardableResult
    public mutating func store<T: FixedWidthInteger>(_ value: T, to index: Int, at offset: Int = 0) -> Bool {
        range(index).store(value, at: offset)
    }
}

// Sendable: it owns its memory alone.
extension BufferChain: @unchecked Sendable {}

/// A chain that came back from the device.
@frozen
public struct UsedChain: ~Copyable {
    /// What `add` had returned for it; the queue may use it again.
    public let token: UInt16
    /// The bytes that the device claims to have written, from the first writable buffer on; not more than those have.
    public let written: UInt32
    /// The chain, if the queue owned it: nil for one that was added as ranges.
    public var buffers: BufferChain?

    @inlinable
    init(token: UInt16, written: UInt32, buffers: consuming BufferChain?) {
        self.token = token
        self.written = written
        self.buffers = buffers
    }
}
