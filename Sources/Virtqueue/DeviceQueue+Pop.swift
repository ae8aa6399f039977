extension DeviceQueue {
    /// The driver's available index, if it can be true (2.7.13): a chain takes at least one descriptor, so no more entries than the queue has
    /// can lie ahead of the next one, nor ahead of the last one that the driver knows to be used.
    @inlinable
    func checkedAvailableIndex() throws(QueueFault) -> UInt16 {
        let index = ring.availableIndex
        let published = used.index &- unpublished
        guard index &- available.index <= ring.size, index &- published <= ring.size else {
            throw .availableIndex(index, next: available.index, size: ring.size)
        }
        return index
    }

    @inlinable
    mutating func popSplit(into chain: inout ChainBuffer) throws(QueueFault) -> Bool {
        if availableLimit == available.index {
            availableLimit = try checkedAvailableIndex()
            if availableLimit == available.index { return false }
        }
        let size = ring.size
        let head = ring.availableEntry(available.index)
        guard head < size else { throw .headOutOfRange(head, size: size) }
        try collectSplit(head, into: &chain)
        available.index &+= 1
        if log != nil { unsafe chain.state.pointee.key = log?.begin(split: head) ?? 0 }
        return true
    }

    /// The chain whose first descriptor is `head`, which is below the size.
    @inlinable @inline(__always)
    func collectSplit(_ head: UInt16, into chain: inout ChainBuffer) throws(QueueFault) {
        let size = ring.size
        var builder = ChainBuilder(limit: size)
        var index = head
        while true {
            let descriptor = ring.splitDescriptor(index)
            if descriptor.isIndirect {
                guard ring.features.indirect else { throw .indirectNotNegotiated }
                guard !descriptor.hasNext else { throw .indirectInChain }
                // Plain descriptors may come before the reference to a table, but nothing after it (2.7.5.3.2).
                builder = try builder.appendingTable(descriptor, to: &chain, head: head, ring: ring, memory: memory)
                break
            }
            try builder.append(descriptor, to: &chain, head: head, ring: ring, memory: memory)
            guard descriptor.hasNext else { break }
            index = descriptor.tag
            guard index < size else { throw .nextOutOfRange(index, size: size) }
        }
        try builder.finish(&chain, id: head, slots: 1, origin: available)
    }

    /// A chain that another process had popped before it ended.
    @usableFromInline
    mutating func popAgain(into chain: inout ChainBuffer) throws(QueueFault) {
        guard let key = log?.takeAgain() else { return }
        if ring.isPacked {
            var builder = ChainBuilder(limit: ring.size)
            let slots = log?.count(key) ?? 1
            var current = key
            var id: UInt16 = 0
            for number in 0..<slots {
                guard let descriptor = log?.descriptor(current) else { break }
                id = descriptor.tag
                if descriptor.isIndirect {
                    // As it was when it was popped: alone (2.8.8.1).
                    guard ring.features.indirect, number == 0, slots == 1 else { throw .indirectInChain }
                    builder = try builder.appendingTable(descriptor, to: &chain, head: id, ring: ring, memory: memory)
                } else {
                    try builder.append(descriptor, to: &chain, head: id, ring: ring, memory: memory)
                }
                current = log?.next(current) ?? 0
            }
            try builder.finish(&chain, id: id, slots: slots, origin: available)
        } else {
            try collectSplit(key, into: &chain)
        }
        unsafe chain.state.pointee.key = key
        unsafe chain.state.pointee.isAgain = true
    }

    @inlinable
    mutating func popPacked(into chain: inout ChainBuffer) throws(QueueFault) -> Bool {
        let size = ring.size
        var descriptor = ring.packedDescriptor(available.index)
        guard descriptor.isAvailable(wrap: available.wrap) else { return false }
        // The driver may not touch what it does not know to be used, so that much of the ring cannot be available again.
        let held = (available.packedDistance(from: used, size: size) ?? size) &+ unpublished
        guard held < size else { throw .ringOverrun(size: size) }
        let room = size &- held
        var builder = ChainBuilder(limit: size)
        var cursor = available
        var slots: UInt16 = 1
        if descriptor.isIndirect {
            guard ring.features.indirect else { throw .indirectNotNegotiated }
            guard !descriptor.hasNext else { throw .indirectInChain }
            builder = try builder.appendingTable(descriptor, to: &chain, head: descriptor.tag, ring: ring, memory: memory)
            cursor.advancePacked(by: 1, size: size)
        } else {
            while true {
                try builder.append(descriptor, to: &chain, head: descriptor.tag, ring: ring, memory: memory)
                cursor.advancePacked(by: 1, size: size)
                guard descriptor.hasNext else { break }
                guard slots < room else { throw .ringOverrun(size: size) }
                slots &+= 1
                descriptor = ring.packedDescriptor(cursor.index)
                // A device uses no descriptor whose AVAIL bit it has not seen change (2.8.13.1).
                guard descriptor.isAvailable(wrap: cursor.wrap) else { throw .descriptorNotAvailable(cursor.index) }
                // A reference to a table stands alone (2.8.8.1).
                guard !descriptor.isIndirect else { throw .indirectInChain }
            }
        }
        // The id of a list is the one in its last descriptor (2.8.7).
        try builder.finish(&chain, id: descriptor.tag, slots: slots, origin: available)
        if log != nil { unsafe chain.state.pointee.key = log?.begin(packed: ring, origin: available, slots: slots) ?? 0 }
        available = cursor
        return true
    }
}
