// Requests that are waited for: the buffers are borrowed for as long.

extension VirtQueue {
    /// Gives a chain to the device, notifies it, waits until it has used it, and takes it back. Nothing else may be in flight.
    ///
    /// - Returns: the bytes that the device claims to have written.
    /// - Throws: as `add` does; `VirtQueueError.notIdle`; and `.timedOut` or `.device`, after which the queue is stopped: the caller's memory
    ///   must not stay with the device.
    @inlinable
    public mutating func addNotifyWaitPop(_ chain: inout BufferChain) throws(VirtQueueError) -> UInt32 {
        try addNotifyWaitPop(readable: chain.readable, writable: chain.writable)
    }

    /// The same for one buffer that the device reads and one that it writes; an empty one is left out.
    @inlinable
    public mutating func addNotifyWaitPop(readable: RawSpan, writable: inout MutableRawSpan) throws(VirtQueueError) -> UInt32 {
        let input = unsafe readable.withUnsafeBytes { bytes in
            unsafe list(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count)
        }
        let output = unsafe writable.withUnsafeMutableBytes { bytes in unsafe list(bytes.baseAddress, bytes.count) }
        // Both spans stay borrowed until this function returns, and their memory with them.
        return try addNotifyWaitPop(
            readable: input.ranges.span.extracting(0..<input.count), writable: output.ranges.span.extracting(0..<output.count))
    }

    /// The same for ranges. The buffers are the device's only until this returns.
    @inlinable
    public mutating func addNotifyWaitPop(readable: Span<HostRange>, writable: Span<HostRange>) throws(VirtQueueError) -> UInt32 {
        guard state == .running else { throw .stopped }
        guard inFlight == 0 else { throw .notIdle(inFlight: inFlight) }
        let token = try unsafe add(readable: readable, writable: writable)
        notifyIfNeeded()
        do throws(VirtQueueError) {
            var round: UInt64 = 0
            while !canPop {
                guard hal.wait(round) else { throw .timedOut }
                round &+= 1
            }
            return try popUsed(token).written
        } catch {
            stop()
            throw error
        }
    }

    /// A list of one range, and how many of its elements count: none when there are no bytes.
    @inlinable
    func list(_ base: UnsafeMutableRawPointer?, _ count: Int) -> (ranges: InlineArray<1, HostRange>, count: Int) {
        // A span without bytes may have no address; any will do then.
        let start = unsafe base ?? UnsafeMutableRawPointer(table.chains)
        return unsafe ([HostRange(base: start, count: count)], count > 0 ? 1 : 0)
    }
}
