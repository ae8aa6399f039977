import Host
import Synchronization
import Virtio
import Virtqueue

extension ChainBuffer {
    /// The number of writable segments that are not consumed yet.
    fileprivate var writableSegments: Int { writable.count }
}

extension QueuePair where Link: ~Copyable {
    /// Gives the driver what has arrived, at most a batch of it.
    mutating func receiveBatch(_ context: DeviceContext) throws(PairFailure) -> BatchEnd {
        guard isEnabled, state.isUp.load(ordering: .relaxed), var queue = receiver.take() else { return .idle }
        state.refresh(&view)
        var end: BatchEnd
        do throws(QueueFault) {
            end = try receive(into: &queue.ring, context)
        } catch {
            receiver = consume queue
            throw .fault(queue: receiveIndex, error)
        }
        if queue.ring.publish() { context.interrupt.signalQueue(receiveIndex) }
        receiver = consume queue
        return end
    }

    private mutating func receive(into ring: inout GuestQueue, _ context: DeviceContext) throws(QueueFault) -> BatchEnd {
        ring.disableNotifications()
        for _ in 0..<Self.batch {
            if let frame = waiting {
                guard try deliver(frame, to: &ring, context) else { return try waitForBuffers(&ring) }
                waiting = nil
                continue
            }
            if !isHolding {
                isHolding = try ring.pop(into: &held)
                guard isHolding else { return try waitForBuffers(&ring) }
            }
            let received: ReceivedFrame?
            do throws(LinkDown) {
                received = try link.receive(into: &held)
            } catch {
                linkWentDown(error, context)
                return .idle
            }
            guard let frame = received else { return .idle }
            if !view.accepts(frame.destination) {
                drop(&ring)
                continue
            }
            waiting = frame
            guard try deliver(frame, to: &ring, context) else { return try waitForBuffers(&ring) }
            waiting = nil
        }
        return .more
    }

    /// The driver has no buffers left: it has to announce new ones.
    private func waitForBuffers(_ ring: inout GuestQueue) throws(QueueFault) -> BatchEnd {
        try ring.enableNotifications() ? .more : .blocked
    }

    /// Spreads a frame over as many chains as it takes and completes them; false when the driver has to give more first.
    ///
    /// All chains of a frame become visible together, since none is published before all are complete (5.1.6.4.1).
    private mutating func deliver(_ frame: ReceivedFrame, to ring: inout GuestQueue, _ context: DeviceContext) throws(QueueFault) -> Bool {
        let needed = frame.pending + (frame.placed == 0 ? NetworkFrame.headerSize : 0)
        let mayMerge = context.features.contains(.netMergeableBuffers)
        var room = held.writableBytes
        var segments = held.writableSegments
        for index in 0..<moreCount {
            if let chain = more[index].take() {
                room += chain.writableBytes
                segments += chain.writableSegments
                more[index] = consume chain
            }
        }
        while room < needed {
            // No buffers will come that make it fit: the whole queue is here already, or the driver wants frames in one piece.
            guard mayMerge, moreCount < Self.maxMore, ring.inFlight < Int(ring.size), segments < Int(ring.size) else {
                lose(&ring)
                return true
            }
            var chain = more[moreCount].take() ?? ChainBuffer(capacity: held.capacity)
            let found = try ring.pop(into: &chain)
            if found {
                room += chain.writableBytes
                segments += chain.writableSegments
            }
            more[moreCount] = consume chain
            guard found else { return false }
            moreCount += 1
        }
        // A first buffer without room for the header is no receive buffer (5.1.6.3.1).
        guard frame.placed > 0 || held.writableBytes >= NetworkFrame.headerSize else {
            lose(&ring)
            return true
        }
        complete(frame, in: &ring)
        return true
    }

    private mutating func complete(_ frame: ReceivedFrame, in ring: inout GuestQueue) {
        frame.header.store(UInt16(truncatingIfNeeded: 1 + moreCount), at: NetworkFrame.bufferCountOffset)
        if !state.takesUnfinished.load(ordering: .relaxed) { frame.header.store(UInt8(0), at: 0) }
        if frame.placed == 0 { link.copyHeader(into: &held) }
        counters.received(bytes: frame.size)
        var copied = link.copyPending(from: 0, into: &held)
        ring.complete(held, written: held.written)
        for index in 0..<moreCount {
            guard var chain = more[index].take() else { continue }
            copied += link.copyPending(from: copied, into: &chain)
            ring.complete(chain, written: chain.written)
            more[index] = consume chain
        }
        moreCount = 0
        isHolding = false
        link.finishFrame()
    }

    /// Loses the frame that was received last, although the driver should have had it.
    private mutating func lose(_ ring: inout GuestQueue) {
        counters.framesDropped.add()
        drop(&ring)
    }

    /// Leaves out the frame that was received last.
    private mutating func drop(_ ring: inout GuestQueue) {
        rewindHeld(&ring)
        link.finishFrame()
    }

    /// Gives the chains that are held back to the queue, untouched as far as the driver knows, and with them what a frame has put there.
    mutating func rewindHeld(_ ring: inout GuestQueue) {
        while moreCount > 0 {
            moreCount -= 1
            if let chain = more[moreCount].take() {
                ring.rewind(chain)
                more[moreCount] = consume chain
            }
        }
        if isHolding { ring.rewind(held) }
        isHolding = false
        waiting = nil
    }
}
