/// A driver's queue on a real device: a ring in memory that the device can reach, the buffers that it shares, and the way to notify it.
///
/// It stands on `DriverQueue`, which owns the ring and trusts nothing that the device writes. What it adds is memory: rings are allocated, and
/// buffers shared and unshared, through a `DriverHAL`. Every buffer is unshared exactly once: when the device has used it, when it could
/// not be added, or after the device was stopped.
///
/// A driver cannot free a buffer that the device has:
/// * `add(_: inout BufferChain?)` takes a chain away from the driver, and `popUsed` gives it back. The type cannot be copied, so the compiler
///   sees to it.
/// * `addNotifyWaitPop` borrows. It does not return before the device has given the buffers back or, after an error, was stopped.
/// * `add(readable:writable:)` on ranges is marked unsafe: there the driver vouches for it.
/// * A queue that goes away takes itself from the device first, and frees its rings and the chains that it owns after that. The compiler cannot
///   know whether a transport really stops its device: that is the contract of `DriverTransport.unsetQueue`.
///
/// Tokens are below the queue size; one may come again once its chain is popped. After its initialisation the queue allocates nothing.
@safe
public struct VirtQueue<HAL: DriverHAL, let size: Int>: ~Copyable {
    /// The queue's number at its device.
    public let index: UInt16
    @usableFromInline let hal: HAL
    @usableFromInline let transport: HAL.Transport
    @usableFromInline let blocks: QueueBlocks<HAL>
    @usableFromInline var ring: DriverQueue<DMARegions>
    @usableFromInline let table: ShareTable
    /// Chains that are with the device, or used and not popped yet.
    @inlinable public var inFlight: Int { inFlightCount }
    @usableFromInline var inFlightCount = 0
    @usableFromInline var state = State.running
    /// What `setDeviceNotify` said last.
    @usableFromInline var wantsNotifications = true

    @usableFromInline enum State { case running, broken, stopped }

    /// Allocates the rings, clears them, and hands the queue to the device. Features are negotiated, the device is not started yet.
    ///
    /// - Parameters:
    ///   - index: the queue's number at the device.
    ///   - features: what was negotiated, as far as it concerns rings.
    ///   - buffersPerChain: the most buffers that a chain can have, at most `size`; also the size of an indirect table.
    /// - Throws: `VirtQueueError.size`, `.alreadyUsed`, `.noMemory`, `.badMemory` or `.notTaken`; nothing is left behind then.
    @inlinable
    public init(
        _ transport: HAL.Transport, _ index: UInt16, features: RingFeatures, hal: HAL, buffersPerChain: Int = 8
    ) throws(VirtQueueError) {
        let maximum = transport.maxQueueSize(index)
        guard let count = UInt16(exactly: size), count <= maximum, features.format.allows(size: count) else {
            throw .size(size, maximum: maximum)
        }
        guard !transport.isQueueUsed(index) else { throw .alreadyUsed(index) }
        let limit = min(max(buffersPerChain, 1), size)
        var blocks = QueueBlocks(hal, features.format)
        let (configuration, tables) = try blocks.allocate(
            size: count, maxSize: maximum, features, tableEntries: UInt16(truncatingIfNeeded: limit))
        let ring: DriverQueue<DMARegions>
        do throws(QueueFault) {
            ring = try DriverQueue(configuration, features: features, memory: blocks.regions, indirectTables: tables)
        } catch {
            throw .badMemory(error)
        }
        guard transport.setQueue(index, configuration) else { throw .notTaken(index) }
        self.index = index
        self.hal = hal
        self.transport = transport
        self.blocks = blocks
        self.ring = ring
        self.table = ShareTable(size: size, limit: limit)
    }

    @inlinable
    deinit {
        // Then the rings are freed, with the fields.
        if state != .stopped {
            transport.unsetQueue(index)
            table.unshareAll(with: hal)
        }
    }

    /// What was negotiated for this queue.
    @inlinable public var features: RingFeatures { ring.features }

    /// Descriptors that `add` can still use. A chain takes as many as it has buffers, or one with an indirect table.
    @inlinable public var availableDescriptors: Int { ring.freeDescriptors }

    /// The most buffers that a chain can have.
    @inlinable public var buffersPerChain: Int { table.limit }

    // MARK: Adding

    /// Gives a chain to the device and takes it away from the caller: `chain` is nil afterwards, and `popUsed` gives it back. The device sees
    /// it at once, but may have to be notified: see `notifyIfNeeded`.
    ///
    /// - Returns: the chain's token.
    /// - Throws: `VirtQueueError.refused`, `.emptyBuffer`, `.notShared` or `.stopped`; `chain` is then left as it was.
    @inlinable
    public mutating func add(_ chain: inout BufferChain?) throws(VirtQueueError) -> UInt16 {
        guard let taken = chain.take() else { throw .refused(.noBuffers) }
        let token: UInt16
        do throws(VirtQueueError) {
            token = try share(taken)
        } catch {
            chain = consume taken
            throw error
        }
        table.keep(taken, at: token)
        return token
    }

    /// Adds a chain that the caller then keeps in the table. Its spans end here, so that it can be moved.
    @inlinable
    mutating func share(_ chain: borrowing BufferChain) throws(VirtQueueError) -> UInt16 {
        try unsafe add(readable: chain.readable, writable: chain.writable)
    }

    /// Gives buffers to the device. The caller vouches that their memory stays where it is, and that nobody touches it, until the chain is
    /// popped or the queue is stopped.
    ///
    /// - Returns: the chain's token.
    /// - Throws: `VirtQueueError.refused`, `.emptyBuffer`, `.notShared` or `.stopped`; nothing is shared then.
    @inlinable @unsafe
    public mutating func add(readable: Span<HostRange>, writable: Span<HostRange>) throws(VirtQueueError) -> UInt16 {
        guard state == .running else { throw .stopped }
        let count = readable.count + writable.count
        guard count <= table.limit else { throw .refused(.tooManyBuffers(count, limit: UInt16(truncatingIfNeeded: table.limit))) }
        do throws(DriverFault) {
            // Before anything is shared, because sharing may mean copying.
            _ = try ring.place(forBuffers: count)
        } catch {
            throw .refused(error)
        }
        let token = ring.freeHead
        try table.share(token, readable: readable, writable: writable, with: hal)
        let added = unsafe UnsafeBufferPointer(start: table.descriptors, count: count)
        do throws(DriverFault) {
            _ = try unsafe ring.add(
                readable: added.span.extracting(0..<readable.count), writable: added.span.extracting(readable.count..<count))
        } catch {
            table.unshare(token, with: hal)
            throw .refused(error)
        }
        ring.expose()
        inFlightCount += 1
        return token
    }

    // MARK: Notifications

    /// Whether the device wants to be notified of any of the chains that were added since this was last asked (2.7.10, 2.8.14).
    ///
    /// The answer is for now: it is given once, and whoever asks notifies.
    @inlinable
    public mutating func shouldNotify() -> Bool { ring.shouldNotify() }

    /// Notifies the device.
    @inlinable
    public func notify() { transport.notify(index) }

    /// Notifies the device if it wants that; whether it was notified.
    @inlinable @discardableResult
    public mutating func notifyIfNeeded() -> Bool {
        guard state == .running, shouldNotify() else { return false }
        notify()
        return true
    }

    /// Whether the device shall send used buffer notifications (it does, from the start on). With EVENT_IDX, too, and from then on: each used
    /// chain gets its notification while this is on, and none while it is off, but for those that are on their way.
    ///
    /// - Returns: true when notifications were switched on and a used chain is there already, for which none may come: pop it.
    @inlinable @discardableResult
    public mutating func setDeviceNotify(_ on: Bool) -> Bool {
        guard state == .running else { return false }
        wantsNotifications = on
        return ring.setUsedNotifications(on)
    }

    // MARK: Popping

    /// Whether the device has used a chain that was not popped yet.
    @inlinable public var canPop: Bool { state == .running && ring.canPop }

    /// The token of the next used chain; nil when there is none.
    ///
    /// - Throws: `VirtQueueError.device` for the rule that the device broke, or `.stopped`.
    @inlinable
    public mutating func peekUsed() throws(VirtQueueError) -> UInt16? { try nextUsed()?.token }

    /// Takes back the next used chain, which must be that of `token`, and gives its buffers back.
    ///
    /// - Throws: `VirtQueueError.notReady`, `.wrongToken`, `.device` or `.stopped`. Nothing was popped then.
    @inlinable
    public mutating func popUsed(_ token: UInt16) throws(VirtQueueError) -> UsedChain {
        guard let next = try nextUsed() else { throw .notReady }
        guard next.token == token else { throw .wrongToken(token, next: next.token) }
        return take(next.token, written: next.written)
    }

    /// Takes back the next used chain, whichever it is; nil when there is none.
    ///
    /// - Throws: `VirtQueueError.device` or `.stopped`. Nothing was popped then.
    @inlinable
    public mutating func popUsed() throws(VirtQueueError) -> UsedChain? {
        guard let next = try nextUsed() else { return nil }
        return take(next.token, written: next.written)
    }

    /// Reads the next used entry once, and checks it. What a device that lies may hold cannot be known any more, so the queue ends there.
    @inlinable
    mutating func nextUsed() throws(VirtQueueError) -> (token: UInt16, written: UInt32)? {
        guard state == .running else { throw .stopped }
        do throws(DriverFault) { return try ring.peekUsed() } catch {
            state = .broken
            throw .device(error)
        }
    }

    @inlinable
    mutating func take(_ token: UInt16, written: UInt32) -> UsedChain {
        ring.release(token)
        table.unshare(token, with: hal)
        inFlightCount -= 1
        ring.renewUsedNotifications(wantsNotifications)
        return UsedChain(token: token, written: written, buffers: table.take(token))
    }

    // MARK: Stopping

    /// Takes the queue from the device and unshares what was in flight. Everything but `takeBack` then throws `.stopped`.
    @inlinable
    public mutating func stop() {
        guard state != .stopped else { return }
        state = .stopped
        transport.unsetQueue(index)
        table.unshareAll(with: hal)
    }

    /// Gives back a chain that was in flight when the queue was stopped, one at each call, until there is none. They are freed with the
    /// queue otherwise.
    @inlinable
    public mutating func takeBack() -> BufferChain? {
        guard state == .stopped else { return nil }
        for token in 0..<size {
            if let chain = table.take(UInt16(truncatingIfNeeded: token)) { return chain }
        }
        return nil
    }
}

extension VirtQueue: @unchecked Sendable where HAL: Sendable, HAL.Transport: Sendable {}
