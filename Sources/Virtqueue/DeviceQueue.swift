/// The device's side of a virtqueue: takes chains that the driver made available, gives them back used, decides about notifications.
///
/// The driver is not trusted: whatever it writes, at whatever moment, a chain that `pop` returns lies in memory and obeys the rules of the
/// specification, and everything else is a `QueueFault`. After a fault the queue stands where it stood; the device asks for a reset.
///
/// A consumer drains like this, or it sleeps on work: be notified, `disableNotifications`, pop until false, `publish`, then
/// `enableNotifications` and start again if that returns true.
@safe
public struct DeviceQueue<Memory: QueueMemory>: ~Copyable {
    /// The registers from which the queue was made.
    public let configuration: QueueConfiguration
    @usableFromInline let ring: Ring
    @usableFromInline let suppression: Suppression
    /// The memory of ring and buffers.
    @usableFromInline let memory: Memory

    /// The next entry to pop, and the next one to use.
    @usableFromInline var available: RingCursor
    @usableFromInline var used: RingCursor
    /// Split: the available index as last seen; entries before it were checked against the bounds.
    @usableFromInline var availableLimit: UInt16
    /// Entries (split) or slots (packed) that were completed but not yet published.
    @usableFromInline var unpublished: UInt16
    @usableFromInline var batch: PackedBatch
    @usableFromInline var notificationsRequested: Bool
    /// Where chains in flight are noted, if somebody wants to know.
    @usableFromInline var log: InFlightLog?

    /// Takes over a queue that the driver has set up, at its start or at the position where it stood. Nothing is written, unless there is a
    /// `log`: then what is in it decides where the queue stands, if the process that wrote it could not stop the queue.
    ///
    /// - Throws: `QueueFault` when size, alignment or place of an area are not allowed, or the position does not fit the queue.
    @inlinable
    public init(
        _ configuration: QueueConfiguration, features: RingFeatures, position: QueuePosition = .initial, memory: Memory,
        log: consuming InFlightLog? = nil
    ) throws(QueueFault) {
        let ring = try Ring(configuration, features: features, memory: memory)
        var log = log
        let position = log?.recover(ring, position) ?? position
        let available = RingCursor(index: position.available, wrap: position.availableWrap)
        let used = RingCursor(index: position.used, wrap: position.usedWrap)
        let inFlight: UInt16?
        if ring.isPacked {
            let inside = available.index < ring.size && used.index < ring.size
            inFlight = inside ? available.packedDistance(from: used, size: ring.size) : nil
        } else {
            inFlight = available.index &- used.index
        }
        guard let inFlight, inFlight <= ring.size else { throw .position(position, size: ring.size) }
        self.configuration = configuration
        self.ring = ring
        self.suppression = Suppression(.device, of: ring)
        self.memory = memory
        self.available = available
        self.used = used
        self.availableLimit = available.index
        self.unpublished = 0
        self.batch = PackedBatch()
        self.notificationsRequested = true
        self.log = log
    }

    /// What was negotiated for this queue.
    @inlinable public var features: RingFeatures { ring.features }

    /// The number of descriptors.
    @inlinable public var size: UInt16 { ring.size }

    /// Whether chains come again that another process had popped.
    @inlinable
    var hasAgain: Bool {
        switch log {
        case .some(let log): log.hasAgain
        case .none: false
        }
    }

    /// Where the queue stands: popped and completed so far. With nothing in flight and everything published, a queue that is made with it
    /// continues here.
    @inlinable
    public var position: QueuePosition {
        QueuePosition(available: available.index, availableWrap: available.wrap, used: used.index, usedWrap: used.wrap)
    }

    /// Entries (split) or slots (packed) that the device holds: popped and not yet completed.
    @inlinable
    public var inFlight: Int {
        Int(ring.isPacked ? available.packedDistance(from: used, size: ring.size) ?? 0 : available.index &- used.index)
    }

    /// Fills `chain` with the next available chain; false when there is none (`chain` is then empty).
    ///
    /// - Throws: `QueueFault` for the rule that the driver broke; the queue does not move.
    @inlinable
    public mutating func pop(into chain: inout ChainBuffer) throws(QueueFault) -> Bool {
        do throws(QueueFault) {
            if hasAgain {
                try popAgain(into: &chain)
                return true
            }
            if ring.isPacked ? try popPacked(into: &chain) : try popSplit(into: &chain) { return true }
        } catch {
            chain.clear()
            throw error
        }
        chain.clear()
        return false
    }

    /// Whether the driver has made a chain available that was not popped yet.
    @inlinable
    public func hasAvailable() throws(QueueFault) -> Bool {
        if hasAgain { return true }
        if ring.isPacked { return ring.packedDescriptor(available.index).isAvailable(wrap: available.wrap) }
        return try checkedAvailableIndex() != available.index
    }

    /// Gives a chain back to the driver with the number of bytes written to its device-writable part, in any order. The driver does not see
    /// it before `publish`. All device-writable bytes of the chain are marked in the memory, whatever `written` says.
    ///
    /// Each popped chain is completed once or rewound once; a chain that this queue cannot have in flight is left alone.
    @inlinable
    public mutating func complete(_ chain: borrowing ChainBuffer, written: UInt32) {
        let slots = unsafe chain.state.pointee.slots
        let id = unsafe chain.state.pointee.id
        guard slots > 0, inFlight >= Int(slots) else {
            assertionFailure("completed a chain that is not in flight")
            return
        }
        if memory.tracksWrites { unsafe chain.state.pointee.markWritable(in: memory) }
        let entry = used.index
        if ring.isPacked {
            let flags = Descriptor.usedFlags(wrap: used.wrap) | (written > 0 ? Descriptor.write : 0)
            let word = Descriptor(address: 0, length: written, flags: flags, tag: id).packedSecondWord
            batch.store(word, at: used.index, isFirst: unpublished == 0, in: ring)
            used.advancePacked(by: slots, size: ring.size)
        } else {
            ring.store(usedEntry: id, written: written, at: used.index)
            used.index &+= 1
        }
        // After the write, as everywhere: whoever takes marks at any time has this one before or after, and in both cases what it stands for.
        if memory.tracksWrites { memory.markWritten(ring.usedEntryRange(entry)) }
        unpublished &+= slots
        if log != nil { unsafe log?.complete(chain.state.pointee.key) }
    }

    /// Gives the most recently popped chain back to the queue, to be popped again: for a chain that could not be filled. Several are rewound
    /// in the reverse order of their pops. Any other chain is left alone. What the device may have left in the chain is marked.
    ///
    /// - Returns: whether the chain was the most recent one and the queue moved back.
    @inlinable @discardableResult
    public mutating func rewind(_ chain: borrowing ChainBuffer) -> Bool {
        let slots = unsafe chain.state.pointee.slots
        guard slots > 0, inFlight > 0 else { return false }
        if memory.tracksWrites { unsafe chain.state.pointee.markWritable(in: memory) }
        if unsafe chain.state.pointee.isAgain { return unsafe log?.returnAgain(chain.state.pointee.key) ?? false }
        var before = available
        if ring.isPacked {
            before.retreatPacked(by: slots, size: ring.size)
        } else {
            before.index &-= 1
        }
        guard unsafe before == chain.state.pointee.origin else { return false }
        available = before
        if log != nil { unsafe log?.undo(chain.state.pointee.key) }
        return true
    }

    /// Makes completed chains visible to the driver, all at once.
    ///
    /// - Returns: whether the driver wants a used buffer notification for them. Always false when there is nothing to publish.
    @inlinable
    public mutating func publish() -> Bool {
        guard unpublished > 0 else { return false }
        if ring.isPacked {
            batch.publish(in: ring)
        } else {
            ring.publish(usedIndex: used.index)
        }
        if memory.tracksWrites { memory.markWritten(ring.isPacked ? ring.usedEntryRange(batch.index) : ring.usedIndexRange) }
        let count = unpublished
        unpublished = 0
        if log != nil { log?.publish(used) }
        return suppression.peerWants(count, endingAt: used)
    }

    /// The queue is being stopped in good order: with nothing in flight there is nothing that the log should tell anybody. True when that
    /// is so.
    public mutating func endLog() -> Bool {
        guard inFlight == 0, unpublished == 0 else { return false }
        log?.retire()
        return true
    }

    /// Asks the driver not to send available buffer notifications. A hint: some may still come.
    @inlinable
    public mutating func disableNotifications() {
        guard notificationsRequested else { return }
        notificationsRequested = false
        suppression.suppress(at: available)
        if memory.tracksWrites { memory.markWritten(suppression.written) }
    }

    /// Asks the driver to send a notification with the next chain.
    ///
    /// - Returns: true when a chain is available already, for which no notification may come: process the queue again.
    @inlinable
    public mutating func enableNotifications() throws(QueueFault) -> Bool {
        notificationsRequested = true
        suppression.request(at: available)
        if memory.tracksWrites { memory.markWritten(suppression.written) }
        return try hasAvailable()
    }
}

// Sendable: the queue is the only owner of its cursors, and the pointers in it lead to shared memory that is only accessed atomically or
// copied.
extension DeviceQueue: @unchecked Sendable where Memory: Sendable {}
