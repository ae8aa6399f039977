/// A checked range of memory that is shared with somebody who may change it at any time.
///
/// A `HostRange` is only made by a `QueueMemory` (or by `unsafe` code that vouches for it), so holding one means that its bytes are
/// mapped for as long as the memory it came from lives: whoever keeps a range keeps that memory too. Its bytes are copied in and out;
/// no reference into them is ever formed. The layout equals `struct iovec`, so an array of ranges is an argument of `preadv`.
@safe @frozen public struct HostRange: @unchecked Sendable {
    // Sendable: a range is an address and a length; every access through it is an untyped copy, valid from any thread.

    /// The first byte.
    public let base: UnsafeMutableRawPointer
    /// The number of bytes.
    public let count: Int

    /// Vouches that `count` bytes at `base` are mapped, readable and writable.
    @inlinable @unsafe
    public init(base: UnsafeMutableRawPointer, count: Int) {
        unsafe self.base = base
        self.count = count
    }

    /// Where it begins in this process: a number, to tell a kernel or to compare.
    @inlinable public var address: UInt64 { unsafe UInt64(UInt(bitPattern: base)) }

    /// The part that starts `offset` bytes in and is `count` bytes long, clamped to this range.
    @inlinable
    public func slice(from offset: Int, count: Int = .max) -> HostRange {
        let start = Swift.min(Swift.max(offset, 0), self.count)
        let length = Swift.min(Swift.max(count, 0), self.count - start)
        return unsafe HostRange(base: base + start, count: length)
    }

    /// Copies bytes out, as many as fit into both; returns how many.
    @inlinable @discardableResult
    public func copy(to destination: inout MutableRawSpan) -> Int {
        let length = Swift.min(count, destination.byteCount)
        unsafe destination.withUnsafeMutableBytes { target in
            if let start = target.baseAddress { unsafe start.copyMemory(from: base, byteCount: length) }
        }
        return length
    }

    /// Copies bytes in, as many as fit into both; returns how many.
    @inlinable @discardableResult
    public func copy(from source: RawSpan) -> Int {
        let length = Swift.min(count, source.byteCount)
        unsafe source.withUnsafeBytes { bytes in
            if let start = bytes.baseAddress { unsafe base.copyMemory(from: start, byteCount: length) }
        }
        return length
    }

    /// Copies bytes out, as many as fit into both; returns how many.
    @inlinable @discardableResult
    public func copy(to destination: inout MutableSpan<UInt8>) -> Int {
        var untyped = destination.untyped
        return copy(to: &untyped)
    }

    /// Copies bytes in, as many as fit into both; returns how many.
    @inlinable @discardableResult
    public func copy(from source: Span<UInt8>) -> Int { copy(from: source.untyped) }

    /// Copies the bytes of another range, as many as fit into both; returns how many. The two may overlap.
    @inlinable @discardableResult
    public func copy(from other: HostRange) -> Int {
        let length = Swift.min(count, other.count)
        unsafe base.copyMemory(from: other.base, byteCount: length)
        return length
    }

    /// Fills the whole range with one byte.
    @inlinable
    public func fill(_ byte: UInt8) {
        unsafe base.initializeMemory(as: UInt8.self, repeating: byte, count: count)
    }

    /// A little-endian integer `offset` bytes in, read once; nil when it does not lie inside the range.
    @inlinable
    public func load<T: FixedWidthInteger>(at offset: Int, as type: T.Type = T.self) -> T? {
        guard offset >= 0, offset <= count, count - offset >= MemoryLayout<T>.size else { return nil }
        return unsafe T(littleEndian: (base + offset).loadUnaligned(as: T.self))
    }

    /// Stores a little-endian integer `offset` bytes in; false (and nothing written) when it does not fit inside the range.
    @inlinable @discardableResult
    public func store<T: FixedWidthInteger>(_ value: T, at offset: Int) -> Bool {
        guard offset >= 0, offset <= count, count - offset >= MemoryLayout<T>.size else { return false }
        unsafe (base + offset).storeBytes(of: value.littleEndian, as: T.self)
        return true
    }
}
