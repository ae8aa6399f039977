/// What the device may read of a chain, from the first byte that was not consumed yet.
///
/// It is a view: it cannot outlive the chain, and the chain counts what is consumed through it.
@safe @frozen
public struct ReadableHalf: ~Copyable, ~Escapable {
    @usableFromInline let state: UnsafeMutablePointer<ChainState>

    @inlinable @unsafe @_lifetime(borrow chain)
    init<Chain: ~Copyable>(_ state: UnsafeMutablePointer<ChainState>, of chain: borrowing Chain) { unsafe self.state = state }

    /// Bytes that were not consumed yet.
    @inlinable public var count: Int { unsafe state.pointee.input.bytes }

    /// The segments that were not consumed yet, for `writev` and its like.
    @inlinable
    public var ranges: Span<HostRange> {
        @_lifetime(borrow self)
        get {
            let half = unsafe state.pointee.input
            return unsafe _overrideLifetime(state.pointee.span(half), borrowing: self)
        }
    }

    /// Copies bytes to the start of `destination` and consumes them; returns how many, at most what both hold.
    @inlinable @discardableResult
    public mutating func read(into destination: inout MutableRawSpan) -> Int { unsafe state.pointee.read(into: &destination) }

    /// Reads and consumes a little-endian integer; nil, and nothing consumed, when fewer bytes are left.
    @inlinable
    public mutating func readInteger<T: FixedWidthInteger & BitwiseCopyable>(as type: T.Type = T.self) -> T? {
        unsafe state.pointee.readInteger(as: type)
    }

    /// Consumes up to `count` bytes; returns how many.
    @inlinable @discardableResult
    public mutating func skip(_ count: Int) -> Int { unsafe state.pointee.consumeReadable(count) { _ in } }
}

/// What the device may write of a chain, from the first byte that was not consumed yet.
///
/// It is a view: it cannot outlive the chain, and the chain counts what is consumed through it.
@safe @frozen
public struct WritableHalf: ~Copyable, ~Escapable {
    @usableFromInline let state: UnsafeMutablePointer<ChainState>

    @inlinable @unsafe @_lifetime(borrow chain)
    init<Chain: ~Copyable>(_ state: UnsafeMutablePointer<ChainState>, of chain: borrowing Chain) { unsafe self.state = state }

    /// Bytes that were not consumed yet.
    @inlinable public var count: Int { unsafe state.pointee.output.bytes }

    /// Bytes that were consumed: what `complete()` tells the driver.
    @inlinable public var written: UInt32 { unsafe state.pointee.written }

    /// The segments that were not consumed yet, for `readv` and its like.
    @inlinable
    public var ranges: Span<HostRange> {
        @_lifetime(borrow self)
        get {
            let half = unsafe state.pointee.output
            return unsafe _overrideLifetime(state.pointee.span(half), borrowing: self)
        }
    }

    /// Copies `bytes` to the chain and consumes their places; returns how many fitted.
    @inlinable @discardableResult
    public mutating func write(_ bytes: RawSpan) -> Int { unsafe state.pointee.write(bytes) }

    /// Writes a little-endian integer; false, and nothing written, when fewer bytes are left.
    @inlinable @discardableResult
    public mutating func writeInteger<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) -> Bool {
        unsafe state.pointee.writeInteger(value)
    }

    /// Consumes up to `count` bytes that something else has written (`readv`); returns how many.
    @inlinable @discardableResult
    public mutating func skip(_ count: Int) -> Int { unsafe state.pointee.consumeWritable(count) { _ in } }

    /// Takes the last `count` bytes away from the half: block's status byte. They must lie in one segment, be at least one and not be consumed
    /// yet; otherwise nil. At most one tail can be taken from a chain.
    @inlinable
    public mutating func takeTail(_ count: Int) -> HostRange? { unsafe state.pointee.takeWritableTail(count) }
}

extension ChainBuffer {
    /// What the device may read.
    @inlinable
    public var readableHalf: ReadableHalf {
        @_lifetime(borrow self)
        _read { yield unsafe ReadableHalf(state, of: self) }
        @_lifetime(&self)
        _modify {
            var half = unsafe ReadableHalf(state, of: self)
            yield &half
        }
    }

    /// What the device may write.
    @inlinable
    public var writableHalf: WritableHalf {
        @_lifetime(borrow self)
        _read { yield unsafe WritableHalf(state, of: self) }
        @_lifetime(&self)
        _modify {
            var half = unsafe WritableHalf(state, of: self)
            yield &half
        }
    }
}
