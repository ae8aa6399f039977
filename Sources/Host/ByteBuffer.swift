public import Virtqueue

/// Memory for bytes on their way: fixed size, one owner, not zeroed, its pages taken from the system only when they are touched.
///
/// Unlike an array it can be named as a `HostRange`, and so be part of a vectored read or write.
@safe public struct ByteBuffer: ~Copyable {
    private let base: UnsafeMutableRawPointer
    /// Size in bytes.
    public let count: Int

    /// A buffer of `count` bytes (0 or more).
    public init(count: Int) {
        self.count = max(count, 0)
        unsafe base = .allocate(byteCount: max(count, 1), alignment: 16)
    }

    deinit { unsafe base.deallocate() }

    /// `length` bytes from `offset`, clamped to the buffer, as an element of a vectored read or write. Valid while the buffer lives.
    public borrowing func range(from offset: Int = 0, count length: Int = .max) -> HostRange {
        unsafe HostRange(base: base, count: count).slice(from: offset, count: length)
    }

    /// `length` bytes from `offset`, clamped to the buffer. Only bytes that were written before mean anything.
    @_lifetime(borrow self)
    public borrowing func bytes(from offset: Int = 0, count length: Int = .max) -> RawSpan {
        let part = range(from: offset, count: length)
        let span = unsafe RawSpan(_unsafeStart: part.base, byteCount: part.count)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// `length` bytes from `offset`, clamped to the buffer, to be written.
    @_lifetime(&self)
    public mutating func mutableBytes(from offset: Int = 0, count length: Int = .max) -> MutableRawSpan {
        let part = range(from: offset, count: length)
        let span = unsafe MutableRawSpan(_unsafeStart: part.base, byteCount: part.count)
        return unsafe _overrideLifetime(span, mutating: &self)
    }

    /// Copies bytes to `offset`, as many as fit; returns how many.
    @discardableResult
    public mutating func copy(from source: RawSpan, to offset: Int = 0) -> Int { range(from: offset).copy(from: source) }

    /// Copies and consumes up to `length` device-readable bytes of a chain, to `offset`, as many as fit; returns how many.
    public mutating func copyReadable(of chain: inout ChainBuffer, to offset: Int = 0, count length: Int = .max) -> Int {
        var space = mutableBytes(from: offset, count: length)
        return chain.read(into: &space)
    }

    /// Moves `length` bytes from `source` to `destination`; the two may overlap. Whatever lies outside the buffer stays where it is.
    public mutating func move(from source: Int, count length: Int, to destination: Int) {
        let part = range(from: source, count: length)
        let target = range(from: destination, count: part.count)
        unsafe target.base.copyMemory(from: part.base, byteCount: target.count)
    }
}

// Sendable: it owns its memory alone; a range taken from it is used by its owner only.
extension ByteBuffer: @unchecked Sendable {}
