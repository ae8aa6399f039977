extension ChainBuffer {
    /// Copies device-readable bytes to the start of `destination` and consumes them; returns how many, at most what both hold.
    @inlinable @discardableResult
    public mutating func read(into destination: inout MutableRawSpan) -> Int {
        unsafe state.pointee.read(into: &destination)
    }

    /// Reads and consumes a little-endian integer; nil, and nothing consumed, when fewer device-readable bytes are left.
    @inlinable
    public mutating func readInteger<T: FixedWidthInteger & BitwiseCopyable>(as type: T.Type = T.self) -> T? {
        unsafe state.pointee.readInteger(as: type)
    }

    /// Consumes up to `count` device-readable bytes; returns how many.
    @inlinable @discardableResult
    public mutating func skipReadable(_ count: Int) -> Int {
        unsafe state.pointee.consumeReadable(count) { _ in }
    }

    /// Copies `bytes` to the device-writable segments and consumes those; returns how many fitted.
    @inlinable @discardableResult
    public mutating func write(_ bytes: RawSpan) -> Int {
        unsafe state.pointee.write(bytes)
    }

    /// Writes and consumes a little-endian integer; false, and nothing written, when fewer device-writable bytes are left.
    @inlinable @discardableResult
    public mutating func writeInteger<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) -> Bool {
        unsafe state.pointee.writeInteger(value)
    }

    /// Consumes up to `count` device-writable bytes that something else has written or will write (`preadv`, io_uring); returns how many.
    @inlinable @discardableResult
    public mutating func skipWritable(_ count: Int) -> Int {
        unsafe state.pointee.consumeWritable(count) { _ in }
    }

    /// Takes the last `count` device-writable bytes away from the chain: block's status byte. They must lie in one segment, be at least one,
    /// and not be consumed yet; otherwise nil. At most one tail can be taken from a chain. Completing the chain marks it as written.
    @inlinable
    public mutating func takeWritableTail(_ count: Int) -> HostRange? {
        unsafe state.pointee.takeWritableTail(count)
    }
}

extension ChainState {
    @inlinable
    mutating func read(into destination: inout MutableRawSpan) -> Int {
        let wanted = destination.byteCount
        return unsafe destination.withUnsafeMutableBytes { target in
            guard var position = target.baseAddress else { return 0 }
            return consumeReadable(wanted) { piece in
                unsafe position.copyMemory(from: piece.base, byteCount: piece.count)
                unsafe position += piece.count
            }
        }
    }

    @inlinable
    mutating func readInteger<T: FixedWidthInteger & BitwiseCopyable>(as type: T.Type) -> T? {
        guard input.bytes >= MemoryLayout<T>.size else { return nil }
        var value: T = 0
        unsafe withUnsafeMutableBytes(of: &value) { bytes in
            var span = unsafe bytes.mutableBytes
            _ = read(into: &span)
        }
        return T(littleEndian: value)
    }

    @inlinable
    mutating func write(_ bytes: RawSpan) -> Int {
        let wanted = bytes.byteCount
        return unsafe bytes.withUnsafeBytes { source in
            guard var position = source.baseAddress else { return 0 }
            return consumeWritable(wanted) { piece in
                unsafe piece.base.copyMemory(from: position, byteCount: piece.count)
                unsafe position += piece.count
            }
        }
    }

    @inlinable
    mutating func writeInteger<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) -> Bool {
        guard output.bytes >= MemoryLayout<T>.size else { return false }
        unsafe withUnsafeBytes(of: value.littleEndian) { bytes in
            _ = unsafe write(bytes.bytes)
        }
        return true
    }
}
