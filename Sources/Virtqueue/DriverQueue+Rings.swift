// What the driver's side does with descriptors: the two formats, and the indirect tables of both.

extension DriverQueue {
    /// Calls `body` with each buffer of a chain in order, with its descriptor flags but for ownership.
    @inlinable @inline(__always)
    static func forEachBuffer(
        _ readable: Span<DriverBuffer>, _ writable: Span<DriverBuffer>, linked: Bool, _ body: (DriverBuffer, UInt16) -> Void
    ) {
        let count = readable.count + writable.count
        for index in 0..<count {
            let isWritable = index >= readable.count
            let buffer = isWritable ? writable[index - readable.count] : readable[index]
            let flags = (isWritable ? Descriptor.write : 0) | (linked && index + 1 < count ? Descriptor.next : 0)
            body(buffer, flags)
        }
    }

    /// Writes the table of chain `id` and returns the descriptor that refers to it.
    @inlinable
    func fillTable(_ id: UInt16, _ readable: Span<DriverBuffer>, _ writable: Span<DriverBuffer>) -> Descriptor? {
        guard let tables, let tableMemory = unsafe tableMemory else { return nil }
        let table = unsafe tableMemory + tables.stride * Int(id)
        let format = ring.features.format
        var index = 0
        // In a packed table WRITE is the only flag; the order is that of the entries (2.8.8).
        Self.forEachBuffer(readable, writable, linked: format == .split) { buffer, flags in
            let tag = format == .split && flags & Descriptor.next != 0 ? UInt16(truncatingIfNeeded: index + 1) : 0
            let entry = Descriptor(address: buffer.address, length: buffer.count, flags: flags, tag: tag)
            unsafe entry.store(entry: index, of: table, format: format)
            index += 1
        }
        return Descriptor(
            address: tables.address &+ UInt64(tables.stride * Int(id)), length: UInt32(truncatingIfNeeded: index * DescriptorLayout.stride),
            flags: Descriptor.indirect, tag: 0)
    }

    // MARK: Split

    /// Writes a chain along the list of free descriptors and returns its last one. The caller has checked that there are enough.
    @inlinable
    mutating func addSplit(
        _ head: UInt16, _ readable: Span<DriverBuffer>, _ writable: Span<DriverBuffer>, _ reference: Descriptor?
    ) -> UInt16 {
        var last = head
        if let reference {
            ring.store(split: reference, at: head)
        } else {
            var index = head
            Self.forEachBuffer(readable, writable, linked: true) { buffer, flags in
                let next = unsafe slots[Int(index)].next
                let tag = flags & Descriptor.next != 0 ? next : 0
                ring.store(split: Descriptor(address: buffer.address, length: buffer.count, flags: flags, tag: tag), at: index)
                last = index
                index = next
            }
        }
        ring.store(availableEntry: head, at: available.index)
        available.index &+= 1
        unpublished &+= 1
        return last
    }

    @inlinable
    mutating func nextUsedSplit() throws(DriverFault) -> (token: UInt16, written: UInt32)? {
        if usedLimit == used.index {
            let index = ring.usedIndex
            // Only what was published can have been used.
            let pending = available.index &- unpublished &- used.index
            guard index &- used.index <= pending else { throw .usedIndex(index, next: used.index) }
            usedLimit = index
            if index == used.index { return nil }
        }
        let entry = ring.usedEntry(used.index)
        return (try check(entry.id, written: entry.written), entry.written)
    }

    // MARK: Packed

    /// Writes a chain into the next slots of the ring, the head's flags last, and returns its id: ids are a list of their own.
    @inlinable
    mutating func addPacked(
        _ id: UInt16, _ readable: Span<DriverBuffer>, _ writable: Span<DriverBuffer>, _ reference: Descriptor?
    ) -> UInt16 {
        let head = available.index
        var headWord: UInt64 = 0
        var written: UInt16 = 0
        if let reference {
            headWord = place(reference.address, reference.length, reference.flags, id, isHead: true)
            written = 1
        } else {
            Self.forEachBuffer(readable, writable, linked: true) { buffer, flags in
                let word = place(buffer.address, buffer.count, flags, id, isHead: written == 0)
                if written == 0 { headWord = word }
                written &+= 1
            }
        }
        // The device must not see a list that is half there (2.8.6.1): its head appears when everything else has.
        batch.store(headWord, at: head, isFirst: unpublished == 0, in: ring)
        unpublished &+= written
        return id
    }

    /// Writes one descriptor at the cursor and moves on; a head's second word is returned but not written.
    @inlinable
    mutating func place(_ address: UInt64, _ length: UInt32, _ flags: UInt16, _ id: UInt16, isHead: Bool) -> UInt64 {
        let flags = flags | Descriptor.availableFlags(wrap: available.wrap)
        let word = Descriptor(address: address, length: length, flags: flags, tag: id).packedSecondWord
        ring.store(packedAddress: address, at: available.index)
        if !isHead { ring.publish(packedWord: word, at: available.index) }
        available.advancePacked(by: 1, size: ring.size)
        return word
    }

    @inlinable
    func nextUsedPacked() throws(DriverFault) -> (token: UInt16, written: UInt32)? {
        let entry = ring.packedDescriptor(used.index)
        guard entry.isUsed(wrap: used.wrap) else { return nil }
        // Without WRITE the length means nothing (2.8.4, 2.8.5).
        let written = entry.isWritable ? entry.length : 0
        return (try check(UInt32(entry.tag), written: written), written)
    }

    // MARK: The private shadow

    /// Checks what the device says about a chain; returns its id.
    @inlinable
    func check(_ id: UInt32, written: UInt32) throws(DriverFault) -> UInt16 {
        guard id < UInt32(ring.size) else { throw .unknownBuffer(id) }
        let slot = unsafe slots[Int(id)]
        guard slot.count > 0, slot.ticket < published else { throw .unknownBuffer(id) }
        guard written <= slot.writable else { throw .writtenTooMuch(written, capacity: slot.writable) }
        return UInt16(truncatingIfNeeded: id)
    }

    /// Frees the descriptors of the next used chain, whose id was checked, and moves on.
    @inlinable
    mutating func release(_ id: UInt16) {
        let count = unsafe slots[Int(id)].count
        let last = unsafe slots[Int(id)].last
        unsafe slots[Int(id)].count = 0
        unsafe slots[Int(last)].next = freeHead
        freeHead = id
        freeCount &+= count
        if ring.isPacked {
            used.advancePacked(by: count, size: ring.size)
        } else {
            used.index &+= 1
        }
    }
}
