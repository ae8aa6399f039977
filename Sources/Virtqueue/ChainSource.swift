/// A `DeviceQueue` whose chains know their way back: what `pop` gives is a `DeviceChain`, which cannot be copied, and which returns to the
/// driver when it is dropped if nobody has completed it before. Any number of chains may be out at the same time.
///
/// For one thread at a time, its chains included: they belong to its region and cannot be sent elsewhere alone. Nothing is allocated or
/// counted for a chain, once as many were out at a time as ever are.
@safe
public final class ChainSource<Memory: QueueMemory> {
    @usableFromInline let slots: ChainSlots<Memory>

    /// Takes a queue over.
    public init(_ queue: consuming DeviceQueue<Memory>) { slots = ChainSlots(queue) }

    deinit {
        _ = close()
        slots.deallocate()
    }

    /// The next chain; nil when there is none, when the driver broke a rule (`fault` says which), or when the source was stopped.
    @inlinable @inline(__always)
    public func pop() -> DeviceChain<Memory>? {
        if unsafe slots.state.pointee.isGuarded, !slots.mayPop() { return nil }
        let slot = unsafe slots.state.pointee.free ?? slots.makeSlot()
        do throws(QueueFault) {
            guard unsafe try slots.queue.pointee.pop(into: &slot.pointee.buffer) else { return nil }
        } catch {
            unsafe slots.state.pointee.fault = error
            return nil
        }
        unsafe slots.state.pointee.free = slot.pointee.next
        unsafe slot.pointee.phase = .out
        return unsafe DeviceChain(slot)
    }

    /// The rule that the driver broke, if it has broken one.
    public var fault: QueueFault? { unsafe slots.state.pointee.fault }

    /// Whether `close` has given the queue back.
    @inlinable public var isClosed: Bool { unsafe slots.state.pointee.isClosed }

    /// The number of descriptors; 0 after `close`.
    public var size: UInt16 { isClosed ? 0 : unsafe slots.queue.pointee.size }

    /// Makes returned chains visible to the driver, all at once; true when it wants a notification for them.
    @inlinable
    public func publish() -> Bool { isClosed ? false : unsafe slots.queue.pointee.publish() }

    /// Asks the driver for no notifications; see `DeviceQueue.disableNotifications`.
    @inlinable
    public func disableNotifications() {
        if !isClosed { unsafe slots.queue.pointee.disableNotifications() }
    }

    /// Asks the driver for a notification with the next chain; true when there is one already, or a fault.
    @inlinable
    public func enableNotifications() -> Bool {
        guard !isClosed else { return false }
        do throws(QueueFault) {
            return unsafe try slots.queue.pointee.enableNotifications()
        } catch {
            unsafe slots.state.pointee.fault = error
            return true
        }
    }

    /// From now on `pop` gives nothing, and a chain that is dropped untouched goes back into the queue instead of to the driver.
    public func stop() {
        unsafe slots.state.pointee.isStopping = true
        unsafe slots.state.pointee.isGuarded = true
    }

    /// Gives the queue back with nothing in flight; nil when it was given back before. Chains that are still out are taken back, and are empty
    /// for whoever holds them. What was returned since the last `publish` is not published yet.
    public func close() -> DeviceQueue<Memory>? { slots.close() }
}

/// A chain on its way from a driver and back. It is always returned: with what `complete` says, into the queue by `putBack`, or, when it is
/// dropped, to the driver with nothing written. Dropped untouched while the device is being stopped it goes back into the queue, so that
/// nothing is lost by sleep.
@safe @frozen
public struct DeviceChain<Memory: QueueMemory>: ~Copyable {
    @usableFromInline let slot: UnsafeMutablePointer<ChainSlot<Memory>>

    @inlinable @unsafe
    init(_ slot: UnsafeMutablePointer<ChainSlot<Memory>>) { unsafe self.slot = slot }

    @inlinable
    deinit { unsafe ChainSlots.drop(slot) }

    /// What the device may read.
    @inlinable
    public var readable: ReadableHalf {
        @_lifetime(borrow self)
        _read { yield unsafe ReadableHalf(slot.pointee.buffer.state, of: self) }
        @_lifetime(&self)
        _modify {
            var half = unsafe ReadableHalf(slot.pointee.buffer.state, of: self)
            yield &half
        }
    }

    /// What the device may write.
    @inlinable
    public var writable: WritableHalf {
        @_lifetime(borrow self)
        _read { yield unsafe WritableHalf(slot.pointee.buffer.state, of: self) }
        @_lifetime(&self)
        _modify {
            var half = unsafe WritableHalf(slot.pointee.buffer.state, of: self)
            yield &half
        }
    }

    /// The buffer id (packed) or index of the head descriptor (split).
    @inlinable public var head: UInt16 { unsafe slot.pointee.buffer.head }

    /// Returns the chain to the driver with the number of bytes that were consumed of the writable half.
    @inlinable @inline(__always)
    public consuming func complete() {
        unsafe ChainSlots.complete(slot, written: slot.pointee.buffer.written)
        discard self
    }

    /// Returns the chain to the driver with this many bytes written; no more than its writable half holds.
    @inlinable @inline(__always)
    public consuming func complete(written: UInt32) {
        unsafe ChainSlots.complete(slot, written: min(written, slot.pointee.buffer.state.pointee.mostWritten))
        discard self
    }

    /// Puts the chain back into the queue, whole, to come again: for one that cannot be served now. Chains that came after it must be put
    /// back, too, before the next one is asked for; otherwise the driver gets it with nothing written.
    public consuming func putBack() {
        unsafe ChainSlots.putBack(slot)
        discard self
    }
}
