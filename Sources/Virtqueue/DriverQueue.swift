/// The driver's side of a virtqueue: makes buffers available and takes them back used.
///
/// The device is not trusted: what the queue needs to remember about its descriptors lies in private memory, never in the ring, and every
/// id, length and index that the device writes is compared with it. A broken rule is a `DriverFault`; the queue then stays as it was, and
/// the driver resets the device. After its initialisation the queue allocates nothing.
@safe
public struct DriverQueue<Memory: QueueMemory>: ~Copyable {
    /// Where the queue lies.
    public let configuration: QueueConfiguration
    @usableFromInline let ring: Ring
    @usableFromInline let suppression: Suppression
    /// Keeps the memory of the ring.
    @usableFromInline let memory: Memory
    @usableFromInline let tables: IndirectTables?
    /// The host memory of the indirect tables.
    @usableFromInline let tableMemory: UnsafeMutableRawPointer?
    /// What is known about each id; the private shadow of the ring.
    @usableFromInline let slots: UnsafeMutablePointer<DriverSlot>

    /// The next entry to make available, and the next one to find used.
    @usableFromInline var available: RingCursor
    @usableFromInline var used: RingCursor
    /// Split: the used index as last seen; entries before it were checked against the bounds.
    @usableFromInline var usedLimit: UInt16
    /// The first free descriptor (split) or id (packed), and how many descriptors are free.
    @usableFromInline var freeHead: UInt16
    @usableFromInline var freeCount: UInt16
    /// Entries (split) or slots (packed) that were added but not yet published.
    @usableFromInline var unpublished: UInt16
    /// Those that were published since `shouldNotify` was last asked; more than the counter holds count as its maximum.
    @usableFromInline var unasked: UInt16
    @usableFromInline var batch: PackedBatch
    /// Chains added and chains published since the beginning: tell a chain that the device may have seen from one that it cannot have.
    @usableFromInline var added: UInt64
    @usableFromInline var published: UInt64

    /// Clears the ring's areas and begins with an empty queue, before the device sees it.
    ///
    /// - Parameters:
    ///   - position: where both sides begin; anything but `.initial` only makes sense when the device is told the same.
    ///   - indirectTables: memory for descriptor tables; without it, or without VIRTIO_F_INDIRECT_DESC, every chain is direct.
    /// - Throws: `QueueFault` when size, alignment or place of an area are not allowed, or the tables do not lie in memory.
    @inlinable
    public init(
        _ configuration: QueueConfiguration, features: RingFeatures, position: QueuePosition = .initial, memory: Memory,
        indirectTables: IndirectTables? = nil
    ) throws(QueueFault) {
        let ring = try Ring(configuration, features: features, memory: memory)
        let available = RingCursor(index: position.available, wrap: position.availableWrap)
        let inside = !ring.isPacked || position.available < ring.size
        guard inside, position.used == position.available, position.usedWrap == position.availableWrap else {
            throw .position(position, size: ring.size)
        }
        var tableMemory: UnsafeMutableRawPointer?
        if let tables = indirectTables, features.indirect {
            let bytes = tables.stride * Int(ring.size)
            guard tables.entries <= ring.size, let range = memory.range(at: tables.address, count: bytes), range.count >= bytes else {
                throw .indirectTableOutsideMemory(address: tables.address, count: UInt32(truncatingIfNeeded: bytes))
            }
            unsafe tableMemory = range.base
        }
        ring.clear(beginningAt: available)
        let slots = UnsafeMutablePointer<DriverSlot>.allocate(capacity: Int(ring.size))
        for index in 0..<ring.size { unsafe (slots + Int(index)).initialize(to: DriverSlot(next: index &+ 1)) }
        self.configuration = configuration
        self.ring = ring
        self.suppression = Suppression(.driver, of: ring)
        self.memory = memory
        self.tables = indirectTables
        unsafe self.tableMemory = tableMemory
        unsafe self.slots = slots
        self.available = available
        self.used = available
        self.usedLimit = available.index
        self.freeHead = 0
        self.freeCount = ring.size
        self.unpublished = 0
        self.unasked = 0
        self.batch = PackedBatch()
        self.added = 0
        self.published = 0
        // An event index of 0 would mean the wrong entry when the queue begins elsewhere.
        if features.eventIndex { suppression.request(at: used) }
    }

    @inlinable
    deinit {
        unsafe slots.deallocate()
    }

    /// What was negotiated for this queue.
    @inlinable public var features: RingFeatures { ring.features }

    /// The number of descriptors.
    @inlinable public var size: UInt16 { ring.size }

    /// Descriptors that `add` can still use. A chain takes as many as it has buffers, or one with an indirect table.
    @inlinable public var freeDescriptors: Int { Int(freeCount) }

    /// Makes one chain of buffers: first those that the device reads, then those that it writes. The device does not see it before
    /// `publish`. With at least two buffers that fit into a table it becomes an indirect one.
    ///
    /// - Returns: the token that `popUsed` gives back, below the queue size. It may be used again after that.
    /// - Throws: `DriverFault.noBuffers`, `.tooManyBuffers`, `.tooManyBytes`, or `.full` when it must be tried again later.
    @inlinable
    public mutating func add(readable: Span<DriverBuffer>, writable: Span<DriverBuffer>) throws(DriverFault) -> UInt16 {
        let count = readable.count + writable.count
        let (needed, indirect) = try place(forBuffers: count)
        var writableBytes = 0
        for index in 0..<writable.count { writableBytes &+= Int(writable[index].count) }
        var bytes = writableBytes
        for index in 0..<readable.count { bytes &+= Int(readable[index].count) }
        guard bytes <= Int(UInt32.max) else { throw .tooManyBytes(bytes) }

        let id = freeHead
        var reference: Descriptor?
        if indirect { reference = fillTable(id, readable, writable) }
        let last =
            if ring.isPacked {
                addPacked(id, readable, writable, reference)
            } else {
                addSplit(id, readable, writable, reference)
            }
        unsafe freeHead = slots[Int(last)].next
        freeCount &-= needed
        unsafe slots[Int(id)].last = last
        unsafe slots[Int(id)].count = needed
        unsafe slots[Int(id)].writable = UInt32(truncatingIfNeeded: writableBytes)
        unsafe slots[Int(id)].ticket = added
        added &+= 1
        return id
    }

    /// Whether there is room for a chain of `count` buffers: the descriptors that it takes, and whether it gets a table.
    @inlinable
    func place(forBuffers count: Int) throws(DriverFault) -> (needed: UInt16, indirect: Bool) {
        guard count > 0 else { throw .noBuffers }
        // A chain must not be longer than the queue size, table or not (2.7.5.3.1, 2.8.6.1).
        guard count <= Int(ring.size) else { throw .tooManyBuffers(count, limit: ring.size) }
        let indirect = unsafe tableMemory != nil && count > 1 && count <= Int(tables?.entries ?? 0)
        let needed: UInt16 = indirect ? 1 : UInt16(truncatingIfNeeded: count)
        guard needed <= freeCount else { throw .full(needed: Int(needed), free: Int(freeCount)) }
        return (needed, indirect)
    }

    /// Makes the added chains visible to the device.
    ///
    /// - Returns: whether the device wants an available buffer notification for them. Always false when there is nothing to publish.
    @inlinable
    public mutating func publish() -> Bool {
        guard unpublished > 0 else { return false }
        expose()
        return shouldNotify()
    }

    /// Makes the added chains visible to the device, without asking whether it wants a notification for them: `shouldNotify` does later.
    @inlinable
    public mutating func expose() {
        guard unpublished > 0 else { return }
        if ring.isPacked {
            batch.publish(in: ring)
        } else {
            ring.publish(availableIndex: available.index)
        }
        published = added
        let (sum, overflow) = unasked.addingReportingOverflow(unpublished)
        unasked = overflow ? .max : sum
        unpublished = 0
    }

    /// Whether the device wants an available buffer notification for any chain that was published since this was last asked.
    @inlinable
    public mutating func shouldNotify() -> Bool {
        guard unasked > 0 else { return false }
        // No more than one round of a packed ring can lie behind the cursor.
        let count = ring.isPacked ? min(unasked, ring.size) : unasked
        unasked = 0
        return suppression.peerWants(count, endingAt: available)
    }

    /// Whether the device has used a chain that was not popped yet.
    @inlinable
    public var canPop: Bool {
        ring.isPacked ? ring.packedDescriptor(used.index).isUsed(wrap: used.wrap) : ring.usedIndex != used.index
    }

    /// What `popUsed` would take back next; nil when there is nothing. The chain stays with the device.
    ///
    /// - Throws: `DriverFault` for the rule that the device broke.
    @inlinable
    public mutating func peekUsed() throws(DriverFault) -> (token: UInt16, written: UInt32)? {
        ring.isPacked ? try nextUsedPacked() : try nextUsedSplit()
    }

    /// Takes back the next used chain: its token and the number of bytes that the device claims to have written, which is not more than the
    /// chain's writable buffers hold. Nil when there is none.
    ///
    /// - Throws: `DriverFault` for the rule that the device broke; the queue does not move.
    @inlinable
    public mutating func popUsed() throws(DriverFault) -> (token: UInt16, written: UInt32)? {
        guard let next = try peekUsed() else { return nil }
        release(next.token)
        return next
    }

    /// Asks the device for a used buffer notification with the next used chain, or for none (a hint: some may still come).
    ///
    /// - Returns: true when notifications were switched on and a used chain is there already, for which none may come: pop again.
    @inlinable @discardableResult
    public mutating func setUsedNotifications(_ on: Bool) -> Bool {
        guard on else {
            suppression.suppress(at: used)
            return false
        }
        suppression.request(at: used)
        return canPop
    }

    /// Asks the device for a used buffer notification when about `count` chains are used that were not popped yet: for a driver that would rather
    /// be woken seldom than early. With EVENT_IDX it comes with the `count`th (split), or after as many slots, so with an earlier one where chains
    /// take several (packed); never later than with the last chain that the device has. Without EVENT_IDX it comes with the next.
    ///
    /// - Returns: true when a used chain is there already, for which none may come: pop again.
    @inlinable
    public mutating func requestUsedNotification(after count: Int) -> Bool {
        let pending = ring.isPacked ? available.packedDistance(from: used, size: ring.size) ?? 0 : available.index &- used.index
        let ahead = UInt16(clamping: min(count, Int(pending &- unpublished)) - 1)
        var event = used
        if ring.isPacked { event.advancePacked(by: ahead, size: ring.size) } else { event.index &+= ahead }
        suppression.request(at: event)
        return canPop
    }

    /// To be called after `popUsed` by who wants notifications to stay on or off whatever is popped. What `setUsedNotifications` wrote names one
    /// entry with EVENT_IDX: it is moved on.
    @inlinable
    mutating func renewUsedNotifications(_ on: Bool) {
        guard ring.features.eventIndex else { return }
        if on {
            suppression.request(at: used)
        } else if !ring.isPacked, used.index & 0x3fff == 0 {
            // It lay 65535 entries ahead, and would be reached.
            suppression.suppress(at: used)
        }
    }
}

// Sendable: the queue is the only owner of its slots and cursors, and the other pointers in it lead to shared memory that is only accessed
// atomically or copied.
extension DriverQueue: @unchecked Sendable where Memory: Sendable {}
