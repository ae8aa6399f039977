/// Collects the segments of one chain and applies the rules that hold for every chain, whatever its format.
///
/// It holds what changes with every descriptor, and no more, so that it stays in registers; what is known of a chain goes to its buffer
/// as soon as it is known. `DeviceQueue.pop` clears the buffer when a rule is broken half-way.
@usableFromInline
struct ChainBuilder {
    /// How many more descriptors the chain may have. It must not be longer than the queue size (2.7.5.3.1, 2.8.6.1); this also ends loops.
    @usableFromInline var remaining: Int
    /// Segments so far.
    @usableFromInline var count = 0
    /// Bytes so far of the half that is being filled, the readable or the writable one.
    @usableFromInline var bytes = 0
    @usableFromInline var inWritable = false

    @inlinable
    init(limit: UInt16) { remaining = Int(limit) }

    /// Adds one buffer. A buffer without bytes is legal, has no place in memory and becomes no segment.
    @inlinable @inline(__always)
    mutating func append<Memory: QueueMemory>(
        _ descriptor: Descriptor, to chain: inout ChainBuffer, head: UInt16, ring: borrowing Ring, memory: borrowing Memory
    ) throws(QueueFault) {
        guard remaining > 0 else { throw .chainTooLong(limit: ring.size) }
        remaining &-= 1
        if descriptor.isWritable != inWritable {
            guard !inWritable else { throw .readableAfterWritable(head) }
            endReadable(of: &chain)
        }
        guard descriptor.length != 0 else { return }
        guard count < chain.capacity else { throw .tooManySegments(limit: chain.capacity) }
        guard let range = memory.range(at: descriptor.address, count: Int(descriptor.length)) else {
            throw .bufferOutsideMemory(address: descriptor.address, count: descriptor.length)
        }
        unsafe chain.state.pointee.segments[count] = range
        count &+= 1
        bytes &+= Int(descriptor.length)  // At most 2¹⁵ times 2³².
    }

    /// The first writable descriptor was met, or the end of a chain without one.
    @inlinable @inline(__always)
    mutating func endReadable(of chain: inout ChainBuffer) {
        unsafe chain.state.pointee.input = ChainHalf(first: 0, end: count, bytes: bytes)
        bytes = 0
        inWritable = true
    }

    /// Adds the buffers of an indirect table: chained by index in the split format (2.7.5.3), in order of place in the packed one (2.8.8).
    ///
    /// It returns the builder instead of changing it, because one whose address is passed cannot stay in registers.
    @inlinable
    func appendingTable<Memory: QueueMemory>(
        _ reference: Descriptor, to chain: inout ChainBuffer, head: UInt16, ring: borrowing Ring, memory: borrowing Memory
    ) throws(QueueFault) -> ChainBuilder {
        var builder = self
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
                try builder.append(entry, to: &chain, head: head, ring: ring, memory: memory)
            }
            return builder
        }
        var index: UInt16 = 0
        var visited: UInt16 = 0
        while true {
            guard visited < entries else { throw .chainTooLong(limit: entries) }
            visited &+= 1
            let entry = unsafe Descriptor(entry: Int(index), of: table.base, format: .split)
            guard !entry.isIndirect else { throw .indirectNested }
            try builder.append(entry, to: &chain, head: head, ring: ring, memory: memory)
            guard entry.hasNext else { return builder }
            index = entry.tag
            guard index < entries else { throw .nextOutOfRange(index, size: entries) }
        }
    }

    /// Completes `chain`.
    @inlinable @inline(__always)
    mutating func finish(_ chain: inout ChainBuffer, id: UInt16, slots: UInt16, origin: RingCursor) throws(QueueFault) {
        if !inWritable { endReadable(of: &chain) }
        let input = unsafe chain.state.pointee.input
        let total = input.bytes &+ bytes
        guard total <= Int(UInt32.max) else { throw .tooManyBytes(total) }
        unsafe chain.state.pointee.output = ChainHalf(first: input.end, end: count, bytes: bytes)
        unsafe chain.state.pointee.firstWritable = input.end
        unsafe chain.state.pointee.tail = nil
        unsafe chain.state.pointee.written = 0
        unsafe chain.state.pointee.id = id
        unsafe chain.state.pointee.slots = slots
        unsafe chain.state.pointee.origin = origin
        unsafe chain.state.pointee.isAgain = false
    }
}
