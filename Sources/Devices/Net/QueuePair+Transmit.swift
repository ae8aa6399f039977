import Synchronization
import Virtio
import Virtqueue

extension QueuePair where Link: ~Copyable {
    /// Sends what the driver has made available, at most a batch of it.
    mutating func transmitBatch(_ context: DeviceContext) throws(PairFailure) -> BatchEnd {
        guard var queue = transmitter.take() else { return .idle }
        var end: BatchEnd
        do throws(QueueFault) {
            end = try transmit(from: &queue.ring, context)
        } catch {
            transmitter = consume queue
            throw .fault(queue: transmitIndex, error)
        }
        if queue.ring.publish() { context.interrupt.signalQueue(transmitIndex) }
        transmitter = consume queue
        return end
    }

    private mutating func transmit(from ring: inout GuestQueue, _ context: DeviceContext) throws(QueueFault) -> BatchEnd {
        ring.disableNotifications()
        for _ in 0..<Self.batch {
            guard try ring.pop(into: &outgoing) else {
                return try ring.enableNotifications() ? .more : .idle
            }
            let size = outgoing.readableBytes
            // Frames that nobody can take are lost, as on a cable that is not plugged in.
            var result = SendResult.lost
            if isEnabled, state.isUp.load(ordering: .relaxed) {
                do throws(LinkDown) { result = try link.send(&outgoing) } catch { linkWentDown(error, context) }
            }
            if result == .blocked {
                ring.rewind(outgoing)
                return .blocked
            }
            counters.sent(bytes: size, isLost: result == .lost)
            ring.complete(outgoing, written: 0)
        }
        return .more
    }
}
