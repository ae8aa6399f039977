internal import CAtomics

// What only packed queues need: copies of descriptors, entries that are free, and a position that no ring tells.

extension InFlightLog {
    /// The word that says where the device writes next: the slot, the number of chains completed since, the wrap counter, and that it
    /// means anything.
    struct UsedWord {
        var cursor: RingCursor
        var batch: UInt16

        init(_ cursor: RingCursor, batch: UInt16) {
            self.cursor = cursor
            self.batch = batch
        }

        /// nil for a word that was never written.
        init?(_ word: UInt64) {
            guard word >> 40 & 1 == 1 else { return nil }
            cursor = RingCursor(index: UInt16(truncatingIfNeeded: word), wrap: word >> 32 & 1 == 1)
            batch = UInt16(truncatingIfNeeded: word >> 16)
        }

        var word: UInt64 { UInt64(cursor.index) | UInt64(batch) << 16 | (cursor.wrap ? 1 << 32 : 0) | 1 << 40 }
    }

    var usedWord: UsedWord? { unsafe UsedWord(swv_load_acquire_u64(base + Header.usedWord)) }

    func setUsed(_ used: RingCursor) {
        unsafe swv_store_release_u64(base + Header.usedWord, UsedWord(used, batch: 0).word)
    }

    /// One more chain waits for publication.
    func noteBatch() {
        guard var word = usedWord else { return }
        word.batch = UInt16(truncatingIfNeeded: batchCount)
        unsafe swv_store_release_u64(base + Header.usedWord, word.word)
    }

    /// A chain was popped from `slots` slots of the ring from `origin` on. Its key; nil when no entries are left, which cannot be: there is
    /// one for each slot.
    @usableFromInline
    mutating func begin(packed ring: Ring, origin: RingCursor, slots: UInt16) -> UInt16 {
        let key = firstFree
        guard key < size else { return 0 }
        var cursor = origin
        var current = key
        for number in 0..<slots {
            store(ring.packedDescriptor(cursor.index), at: current)
            cursor.advancePacked(by: 1, size: size)
            let next = owned(Own.link, Int(current))
            guard number + 1 < slots, next < size else {
                firstFree = next
                break
            }
            unsafe swv_store_u16(entry(current) + Entry.packedNext, next)
            current = next
        }
        setOwned(Own.count, Int(key), slots)
        unsafe swv_store_u16(entry(key) + Entry.count, slots)
        mark(key)
        return key
    }

    /// The entries of a chain are free again.
    mutating func free(_ key: UInt16) {
        var last = key
        for _ in 1..<max(owned(Own.count, Int(key)), 1) { last = owned(Own.link, Int(last)) }
        setOwned(Own.link, Int(last), firstFree)
        firstFree = key
    }

    /// How many descriptors a chain has.
    @usableFromInline
    func count(_ key: UInt16) -> UInt16 { owned(Own.count, Int(key)) }

    /// The entry after this one in its chain.
    @usableFromInline
    func next(_ key: UInt16) -> UInt16 { owned(Own.link, Int(key)) }

    /// The copy of a descriptor.
    @usableFromInline
    func descriptor(_ key: UInt16) -> Descriptor {
        let place = unsafe entry(key)
        return unsafe Descriptor(
            address: swv_load_u64(place + Entry.address), length: swv_load_u32(place + Entry.length),
            flags: swv_load_u16(place + Entry.flags), tag: swv_load_u16(place + Entry.id))
    }

    private func store(_ descriptor: Descriptor, at key: UInt16) {
        let place = unsafe entry(key)
        unsafe swv_store_u64(place + Entry.address, descriptor.address)
        unsafe swv_store_u32(place + Entry.length, descriptor.length)
        unsafe swv_store_u16(place + Entry.flags, descriptor.flags)
        unsafe swv_store_u16(place + Entry.id, descriptor.tag)
    }
}
