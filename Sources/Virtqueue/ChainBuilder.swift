/// Collects the segments of one chain and applies the rules that hold for every chain, whatever its format. It keeps its counts apart
/// from the buffer, so that they stay in registers and a chain that breaks a rule half-way leaves nothing behind.
@safe @usableFromInline
struct ChainBuilder {
    @usableFromInline let segments: UnsafeMutablePointer<HostRange>
    @usableFromInline let capacity: Int
    /// A chain must not be longer than the queue size (2.7.5.3.1, 2.8.6.1); this also ends loops.
    @usableFromInline let limit: UInt16
    @usableFromInline var descriptors: UInt16 = 0
    @usableFromInline var count = 0
    @usableFromInline var firstWritable = -1
    @usableFromInline var readableBytes = 0
    @usableFromInline var bytes = 0

    @inlinable
    init(_ chain: borrowing ChainBuffer, limit: UInt16) {
        unsafe segments = chain.segments
        capacity = chain.capacity
        self.limit = limit
    }

    /// Adds one buffer. A buffer without bytes is legal, has no place in memory and becomes no segment.
    @inlinable @inline(__always)
    mutating func append<Memory: QueueMemory>(
        _ descriptor: Descriptor, head: UInt16, memory: borrowing Memory
    ) throws(QueueFault) {
        guard descriptors < limit else { throw .chainTooLong(limit: limit) }
        descriptors &+= 1
        if firstWritable < 0 {
            if descriptor.isWritable {
                firstWritable = count
                readableBytes = bytes
            }
        } else if !descriptor.isWritable {
            throw .readableAfterWritable(head)
        }
        guard descriptor.length != 0 else { return }
        guard count < capacity else { throw .tooManySegments(limit: capacity) }
        guard let range = memory.range(at: descriptor.address, count: Int(descriptor.length)) else {
            throw .bufferOutsideMemory(address: descriptor.address, count: descriptor.length)
        }
        unsafe segments[count] = range
        count &+= 1
        bytes &+= Int(descriptor.length)  // At most 2¹⁵ times 2³².
    }

    /// Adds the buffers of an indirect table: chained by index in the split format (2.7.5.3), in order of place in the packed one (2.8.8).
    @inlinable
    mutating func appendTable<Memory: QueueMemory>(
        _ reference: Descriptor, head: UInt16, ring: borrowing Ring, memory: borrowing Memory
    ) throws(QueueFault) {
        let length = reference.length
        guard length > 0, length % UInt32(DescriptorLayout.stride) == 0, length / UInt32(DescriptorLayout.stride) <= UInt32(ring.size)
        else {
            throw .indirectTableLength(length, size: ring.size)
        }
        guard let table = memory.range(at: reference.address, count: Int(length)) else {
            throw .indirectTableOutsideMemory(address: reference.address, count: length)
        }
        let entries = UInt16(truncatingIfNeeded: length / UInt32(DescriptorLayout.stride))
        if ring.isPacked {
            // WRITE is the only flag with a meaning here; the device ignores the others (2.8.8).
            for index in 0..<Int(entries) {
                let entry = unsafe Descriptor(entry: index, of: table.base, format: .packed)
                try append(entry, head: head, memory: memory)
            }
            return
        }
        var index: UInt16 = 0
        var visited: UInt16 = 0
        while true {
            guard visited < entries else { throw .chainTooLong(limit: entries) }
            visited &+= 1
            let entry = unsafe Descriptor(entry: Int(index), of: table.base, format: .split)
            guard !entry.isIndirect else { throw .indirectNested }
            try append(entry, head: head, memory: memory)
            guard entry.hasNext else { return }
            index = entry.tag
            guard index < entries else { throw .nextOutOfRange(index, size: entries) }
        }
    }

    /// Fills `chain`.
    @inlinable @inline(__always)
    func finish(_ chain: inout ChainBuffer, id: UInt16, slots: UInt16, origin: RingCursor) throws(QueueFault) {
        guard bytes <= Int(UInt32.max) else { throw .tooManyBytes(bytes) }
        let writable = firstWritable < 0 ? count : firstWritable
        let readable = firstWritable < 0 ? bytes : readableBytes
        chain.input = ChainHalf(first: 0, end: writable, bytes: readable)
        chain.output = ChainHalf(first: writable, end: count, bytes: bytes &- readable)
        chain.firstWritable = writable
        chain.id = id
        chain.slots = slots
        chain.origin = origin
    }
}
