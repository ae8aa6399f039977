internal import CAtomics

// What a log says when a queue is made with it: nothing, if it is new or its queue was stopped in good order; else which chains come again,
// and where the queue stands.

extension InFlightLog {
    /// Reads the log and makes it ready for the queue; `position` is where the queue is said to stand. Returns where it does.
    @usableFromInline
    mutating func recover(_ ring: Ring, _ position: QueuePosition) -> QueuePosition {
        let isOurs =
            unsafe swv_load_u16(base + Header.version) == Self.currentVersion && swv_load_u16(base + Header.size) == size
        if !isOurs { forget() }
        let recovered = isPacked ? recoverPacked(ring, position) : recoverSplit(ring, position)
        unsafe swv_store_u16(base + Header.size, size)
        unsafe swv_store_release_u16(base + Header.version, Self.currentVersion)
        return recovered
    }

    private mutating func forget() {
        for key in 0..<size { unmark(key) }
        unsafe swv_store_u16(base + Header.lastBatchHead, 0)
        if isPacked { unsafe swv_store_u64(base + Header.usedWord, 0) }
    }

    private mutating func recoverSplit(_ ring: Ring, _ position: QueuePosition) -> QueuePosition {
        let used = ring.usedIndex
        // Published, but not noted as such: the last ones of the batch list.
        let noted = unsafe swv_load_acquire_u16(base + Header.usedIndex)
        let unnoted = used &- noted
        var key = unsafe swv_load_u16(base + Header.lastBatchHead)
        for _ in 0..<min(unnoted, size) {
            guard key < size else { break }
            unmark(key)
            key = unsafe swv_load_u16(entry(key) + Entry.splitNext)
        }
        unsafe swv_store_release_u16(base + Header.usedIndex, used)
        collect(marked())
        guard againCount > 0 else { return position }
        // A device that works in order stands where it has published last, and its driver's ring is as it was.
        let stands = (0..<againCount).allSatisfy { ring.availableEntry(used &+ UInt16($0)) == owned(Own.again, $0) }
        if stands {
            dropAgain()
            return QueuePosition(available: used, used: used)
        }
        return QueuePosition(available: used &+ UInt16(againCount), used: used)
    }

    private mutating func recoverPacked(_ ring: Ring, _ position: QueuePosition) -> QueuePosition {
        guard let word = usedWord, word.cursor.index < size else {
            forget()
            rebuildFree(occupied: [])
            setUsed(RingCursor(index: position.used, wrap: position.usedWrap))
            return position
        }
        var used = word.cursor
        // The batch is published as soon as its first descriptor is.
        if word.batch > 0, ring.packedDescriptor(used.index).isPublished(wrap: used.wrap) {
            var key = unsafe swv_load_u16(base + Header.lastBatchHead)
            for _ in 0..<min(word.batch, size) {
                guard key < size else { break }
                let count = unsafe swv_load_u16(entry(key) + Entry.count)
                if isMarked(key), (1...size).contains(count) {
                    unmark(key)
                    used.advancePacked(by: count, size: size)
                }
                key = unsafe swv_load_u16(entry(key) + Entry.packedBatch)
            }
        }
        setUsed(used)
        var occupied = [Bool](repeating: false, count: Int(size))
        var keys: [(counter: UInt64, key: UInt16)] = []
        for found in marked() {
            // An entry that belongs to two chains belongs to none of them.
            if adopt(found.key, &occupied) { keys.append(found) } else { unmark(found.key) }
        }
        collect(keys)
        rebuildFree(occupied: occupied)
        let total = (0..<againCount).reduce(0) { $0 + Int(count(owned(Own.again, $1))) }
        guard total <= Int(size) else {
            dropAgain()
            return QueuePosition(available: used.index, availableWrap: used.wrap, used: used.index, usedWrap: used.wrap)
        }
        takeBack(ring, from: used, total)
        var available = used
        if standsInOrder(ring, from: used) { dropAgain() } else { available.advancePacked(by: UInt16(total), size: size) }
        return QueuePosition(available: available.index, availableWrap: available.wrap, used: used.index, usedWrap: used.wrap)
    }

    /// Takes over a chain's entries as the log links them; false when that is no chain.
    private func adopt(_ key: UInt16, _ occupied: inout [Bool]) -> Bool {
        let count = unsafe swv_load_u16(entry(key) + Entry.count)
        guard (1...size).contains(count) else { return false }
        var entries: [UInt16] = []
        var current = key
        for _ in 0..<count {
            guard current < size, !occupied[Int(current)] else {
                for one in entries { occupied[Int(one)] = false }
                return false
            }
            // At once, so that a chain that comes back to itself is none.
            occupied[Int(current)] = true
            entries.append(current)
            current = unsafe swv_load_u16(entry(current) + Entry.packedNext)
        }
        for (one, next) in zip(entries, entries.dropFirst()) { setOwned(Own.link, Int(one), next) }
        setOwned(Own.count, Int(key), count)
        return true
    }

    /// All descriptors of a batch but the first are in the ring before it is published. If it never was, the driver must not take them for
    /// those of the next batch.
    private func takeBack(_ ring: Ring, from start: RingCursor, _ count: Int) {
        var cursor = start
        for _ in 0..<count {
            var descriptor = ring.packedDescriptor(cursor.index)
            if descriptor.isUsed(wrap: cursor.wrap) {
                descriptor.flags = Descriptor.availableFlags(wrap: cursor.wrap)
                ring.publish(packedWord: descriptor.packedSecondWord, at: cursor.index)
            }
            cursor.advancePacked(by: 1, size: size)
        }
    }

    /// Whether the ring still has, from `start` on, the descriptors of all chains that come again, in order.
    private func standsInOrder(_ ring: Ring, from start: RingCursor) -> Bool {
        var cursor = start
        for index in 0..<againCount {
            var key = owned(Own.again, index)
            for _ in 0..<count(key) {
                let (there, here) = (ring.packedDescriptor(cursor.index), descriptor(key))
                let isSame =
                    there.tag == here.tag && there.address == here.address && there.length == here.length && there.flags == here.flags
                guard isSame, there.isAvailable(wrap: cursor.wrap) else { return false }
                cursor.advancePacked(by: 1, size: size)
                key = next(key)
            }
        }
        return true
    }

    /// All chains that are marked.
    private func marked() -> [(counter: UInt64, key: UInt16)] {
        var found: [(counter: UInt64, key: UInt16)] = []
        for key in 0..<size where isMarked(key) { found.append((unsafe swv_load_u64(entry(key) + Entry.counter), key)) }
        return found
    }

    /// These come again, in the order of their counters.
    private mutating func collect(_ chains: [(counter: UInt64, key: UInt16)]) {
        for (index, chain) in chains.sorted(by: { $0.counter < $1.counter }).enumerated() { setOwned(Own.again, index, chain.key) }
        againCount = chains.count
        againNext = 0
        counter = (chains.map({ $0.counter }).max() ?? 0) &+ 1
    }

    /// None comes again: the queue stands before them.
    private mutating func dropAgain() {
        for index in 0..<againCount { undo(owned(Own.again, index)) }
        againCount = 0
    }

    /// Links all entries that belong to no chain.
    private mutating func rebuildFree(occupied: [Bool]) {
        firstFree = size
        for key in (0..<size).reversed() where occupied.isEmpty || !occupied[Int(key)] {
            setOwned(Own.link, Int(key), firstFree)
            setOwned(Own.count, Int(key), 1)
            firstFree = key
        }
    }
}

extension Descriptor {
    /// Whether the device has used it in the round with this wrap counter. The driver may have taken notice and made it available in the next
    /// round; before, the bit had the other value.
    func isPublished(wrap: Bool) -> Bool { (flags & Self.used != 0) == wrap }
}
