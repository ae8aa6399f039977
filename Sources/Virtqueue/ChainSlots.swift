/// The place of one chain that a `ChainSource` has given out, or will.
@safe @usableFromInline
struct ChainSlot<Memory: QueueMemory>: ~Copyable {
    @usableFromInline var buffer: ChainBuffer
    @usableFromInline let source: ChainSlots<Memory>
    /// The next one in the list of those without a chain.
    @usableFromInline var next: UnsafeMutablePointer<ChainSlot<Memory>>?
    /// The next one of all.
    @usableFromInline let sibling: UnsafeMutablePointer<ChainSlot<Memory>>?
    @usableFromInline var phase = ChainPhase.free
    /// A `DeviceChain` leads here although the chain was taken back: the queue is being closed.
    @usableFromInline var isStale = false

    @inlinable
    init(in source: ChainSlots<Memory>) {
        unsafe buffer = ChainBuffer(capacity: Int(source.queue.pointee.size))
        unsafe next = nil
        unsafe sibling = source.state.pointee.all
        self.source = source
    }
}

/// Where a slot's chain is.
@usableFromInline
enum ChainPhase: UInt8 {
    /// There is none.
    case free
    /// With the device, as a `DeviceChain`.
    case out
    /// On its way back into the queue; later ones are still out.
    case back
    /// It was taken back when the queue was closed; the `DeviceChain` frees the slot.
    case orphan
}

/// What a `ChainSource` shares with its chains.
@safe @usableFromInline
struct ChainSourceState<Memory: QueueMemory>: ~Copyable {
    /// The slots without a chain.
    @usableFromInline var free: UnsafeMutablePointer<ChainSlot<Memory>>?
    /// All slots.
    @usableFromInline var all: UnsafeMutablePointer<ChainSlot<Memory>>?
    /// `pop` must look before it pops: the source is stopped or closed, or chains are on their way back into the queue.
    @usableFromInline var isGuarded = false
    @usableFromInline var isStopping = false
    @usableFromInline var isClosed = false
    @usableFromInline var fault: QueueFault?

    @inlinable
    init() {
        unsafe free = nil
        unsafe all = nil
    }
}

/// The slots of one queue: plain pointers, because a chain counts no references. Chains that outlive their source own their slots and look at
/// nothing else.
@safe @usableFromInline
struct ChainSlots<Memory: QueueMemory> {
    @usableFromInline let state: UnsafeMutablePointer<ChainSourceState<Memory>>
    /// Initialised until the source is closed.
    @usableFromInline let queue: UnsafeMutablePointer<DeviceQueue<Memory>>

    @usableFromInline
    init(_ queue: consuming DeviceQueue<Memory>) {
        unsafe self.queue = UnsafeMutablePointer<DeviceQueue<Memory>>.allocate(capacity: 1)
        unsafe self.queue.initialize(to: queue)
        unsafe state = UnsafeMutablePointer<ChainSourceState<Memory>>.allocate(capacity: 1)
        unsafe state.initialize(to: ChainSourceState())
    }

    /// After `close`, with the source.
    @usableFromInline
    func deallocate() {
        unsafe queue.deallocate()
        unsafe state.deinitialize(count: 1)
        unsafe state.deallocate()
    }

    /// One more slot, the first of the free ones. There are never more than a queue has entries, and one.
    @usableFromInline @unsafe
    func makeSlot() -> UnsafeMutablePointer<ChainSlot<Memory>> {
        let slot = UnsafeMutablePointer<ChainSlot<Memory>>.allocate(capacity: 1)
        unsafe slot.initialize(to: ChainSlot(in: self))
        unsafe state.pointee.all = slot
        unsafe state.pointee.free = slot
        return unsafe slot
    }

    @inlinable @inline(__always) @unsafe
    func give(_ slot: UnsafeMutablePointer<ChainSlot<Memory>>) {
        unsafe slot.pointee.phase = .free
        unsafe slot.pointee.next = state.pointee.free
        unsafe state.pointee.free = slot
    }

    /// Returns the chain to the driver.
    @inlinable @inline(__always) @unsafe
    static func complete(_ slot: UnsafeMutablePointer<ChainSlot<Memory>>, written: UInt32) {
        guard unsafe slot.pointee.phase == .out else { return unsafe discard(slot) }
        let source = unsafe slot.pointee.source
        unsafe source.queue.pointee.complete(slot.pointee.buffer, written: written)
        unsafe source.give(slot)
    }

    /// The device has dropped the chain.
    @usableFromInline @unsafe
    static func drop(_ slot: UnsafeMutablePointer<ChainSlot<Memory>>) {
        if unsafe slot.pointee.phase == .out, unsafe slot.pointee.source.state.pointee.isStopping,
            unsafe slot.pointee.buffer.state.pointee.isUntouched
        {
            return unsafe putBack(slot)
        }
        unsafe complete(slot, written: 0)
    }

    /// The device wants the chain to come again.
    @usableFromInline @unsafe
    static func putBack(_ slot: UnsafeMutablePointer<ChainSlot<Memory>>) {
        guard unsafe slot.pointee.phase == .out else { return unsafe discard(slot) }
        let source = unsafe slot.pointee.source
        unsafe slot.pointee.phase = .back
        unsafe source.state.pointee.isGuarded = true
        source.rewind()
    }

    /// The chain was taken back before; now its slot goes, too.
    @usableFromInline @unsafe
    static func discard(_ slot: UnsafeMutablePointer<ChainSlot<Memory>>) {
        unsafe slot.deinitialize(count: 1)
        unsafe slot.deallocate()
    }

    /// Calls `body` with each slot, which it may free.
    private func forEach(_ body: (UnsafeMutablePointer<ChainSlot<Memory>>) -> Void) {
        var next = unsafe state.pointee.all
        while let slot = unsafe next {
            unsafe next = slot.pointee.sibling
            unsafe body(slot)
        }
    }

    /// Rewinds the queue by as many chains as it can, the latest ones. The others wait for those that came after them.
    private func rewind() {
        var hasMoved = true
        while hasMoved {
            hasMoved = false
            unsafe forEach { slot in
                guard unsafe slot.pointee.phase == .back, unsafe queue.pointee.rewind(slot.pointee.buffer) else { return }
                unsafe give(slot)
                hasMoved = true
            }
        }
    }

    /// What cannot go back into the queue goes back to the driver.
    private func completeThoseOnTheWay() {
        unsafe forEach { slot in
            guard unsafe slot.pointee.phase == .back else { return }
            unsafe queue.pointee.complete(slot.pointee.buffer, written: 0)
            unsafe give(slot)
        }
    }

    /// Whether a chain may be popped, where there is something to look at before.
    @usableFromInline
    func mayPop() -> Bool {
        guard unsafe !state.pointee.isStopping, unsafe !state.pointee.isClosed else { return false }
        completeThoseOnTheWay()
        unsafe state.pointee.isGuarded = false
        return true
    }

    /// See `ChainSource.close`.
    @usableFromInline
    func close() -> DeviceQueue<Memory>? {
        guard unsafe !state.pointee.isClosed else { return nil }
        unsafe forEach { slot in
            guard unsafe slot.pointee.phase == .out else { return }
            unsafe slot.pointee.isStale = true
            if unsafe slot.pointee.buffer.state.pointee.isUntouched {
                unsafe slot.pointee.phase = .back
            } else {
                unsafe queue.pointee.complete(slot.pointee.buffer, written: 0)
            }
        }
        rewind()
        completeThoseOnTheWay()
        unsafe forEach { slot in
            guard unsafe slot.pointee.isStale else { return unsafe Self.discard(slot) }
            unsafe slot.pointee.buffer.clear()
            unsafe slot.pointee.phase = .orphan
        }
        unsafe state.pointee.all = nil
        unsafe state.pointee.free = nil
        unsafe state.pointee.isClosed = true
        unsafe state.pointee.isGuarded = true
        return unsafe queue.move()
    }
}
