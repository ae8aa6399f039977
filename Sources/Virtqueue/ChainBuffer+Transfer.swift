extension ChainBuffer {
    /// Copies device-readable bytes to the start of `destination` and consumes them; returns how many, at most what both hold.
    @inlinable @discardableResult
    public mutating func read(into destination: inout MutableRawSpan) -> Int {
        let wanted = destination.byteCount
        return unsafe destination.withUnsafeMutableBytes { target in
            guard var position = target.baseAddress else { return 0 }
            return unsafe input.consume(wanted, of: segments) { piece in
                unsafe position.copyMemory(from: piece.base, byteCount: piece.count)
                unsafe position += piece.count
            }
        }
    }

    /// Reads and consumes a little-endian integer; nil, and nothing consumed, when fewer device-readable bytes are left.
    @inlinable
    public mutating func readInteger<T: FixedWidthInteger & BitwiseCopyable>(as type: T.Type = T.self) -> T? {
        guard readableBytes >= MemoryLayout<T>.size else { return nil }
        var value: T = 0
        unsafe withUnsafeMutableBytes(of: &value) { bytes in
            var span = unsafe bytes.mutableBytes
            read(into: &span)
        }
        return T(littleEndian: value)
    }

    /// Consumes up to `count` device-readable bytes; returns how many.
    @inlinable @discardableResult
    public mutating func skipReadable(_ count: Int) -> Int {
        unsafe input.consume(count, of: segments) { _ in }
    }

    /// Copies `bytes` to the device-writable segments and consumes those; returns how many fitted.
    @inlinable @discardableResult
    public mutating func write(_ bytes: RawSpan) -> Int {
        let wanted = bytes.byteCount
        let count = unsafe bytes.withUnsafeBytes { source in
            guard var position = source.baseAddress else { return 0 }
            return unsafe output.consume(wanted, of: segments) { piece in
                unsafe piece.base.copyMemory(from: position, byteCount: piece.count)
                unsafe position += piece.count
            }
        }
        consumed &+= UInt32(truncatingIfNeeded: count)
        return count
    }

    /// Writes and consumes a little-endian integer; false, and nothing written, when fewer device-writable bytes are left.
    @inlinable @discardableResult
    public mutating func writeInteger<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) -> Bool {
        guard writableBytes >= MemoryLayout<T>.size else { return false }
        unsafe withUnsafeBytes(of: value.littleEndian) { bytes in
            _ = unsafe write(bytes.bytes)
        }
        return true
    }

    /// Consumes up to `count` device-writable bytes that something else has written or will write (`preadv`, io_uring); returns how many.
    @inlinable @discardableResult
    public mutating func skipWritable(_ count: Int) -> Int {
        let count = unsafe output.consume(count, of: segments) { _ in }
        consumed &+= UInt32(truncatingIfNeeded: count)
        return count
    }

    /// Takes the last `count` device-writable bytes away from the chain: block's status byte. They must lie in one segment, be at least one,
    /// and not be consumed yet; otherwise nil. At most one tail can be taken from a chain. Completing the chain marks it as written.
    @inlinable
    public mutating func takeWritableTail(_ count: Int) -> HostRange? {
        guard count > 0, tail == nil, output.first < output.end else { return nil }
        let last = unsafe segments[output.end - 1]
        guard last.count >= count else { return nil }
        let taken = last.slice(from: last.count - count)
        let rest = last.slice(from: 0, count: last.count - count)
        if rest.count > 0 || (output.end - 1 == output.first && output.offset > 0) {
            unsafe segments[output.end - 1] = rest
        } else {
            output.end -= 1
        }
        output.bytes -= count
        tail = taken
        return taken
    }
}

extension ChainBuffer {
    /// Tells `memory` about the first `count` device-writable bytes, consumed or not, and about the tail.
    @inlinable
    func markWritten<Memory: QueueMemory>(_ count: UInt32, in memory: borrowing Memory) {
        var left = Int(max(count, consumed))
        var index = firstWritable
        while left > 0, index < output.end {
            var segment = unsafe segments[index]
            if index == output.first {
                unsafe segment = HostRange(base: segment.base - output.offset, count: segment.count + output.offset)
            }
            let part = segment.slice(from: 0, count: left)
            memory.markWritten(part)
            left -= part.count
            index += 1
        }
        if let tail { memory.markWritten(tail) }
    }
}
