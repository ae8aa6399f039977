import Host
import Virtio

/// What a transport counts for its device, beside what the device counts itself.
///
/// Doorbells are not among it: the hypervisor hands them to the device's worker, and the transport never sees them.
final class TransportCounters: CounterBlock {
    /// The used buffer notifications of one queue, sent by the one thread that has the queue.
    private struct Queue: ~Copyable, Sendable {
        let notifications = Counter()
        let padding = CounterPadding()
    }

    private let queues: FixedArray<Queue>
    /// Those that the transport sends itself, with its lock held. Not with the queue's own: its worker may be counting there.
    private let repeated = Counter()
    let padding = CounterPadding()

    init(queueCount: Int) { queues = FixedArray(count: queueCount) { _ in Queue() } }

    var values: [String: UInt64] { ["interrupts": interrupts] }

    private var interrupts: UInt64 {
        var sum = repeated.value
        for index in queues.indices { sum &+= queues[index].notifications.value }
        return sum
    }

    /// The thread that has the queue sends a notification.
    func countNotification(queue: Int) {
        if queues.indices.contains(queue) { queues[queue].notifications.add() }
    }

    /// The transport sends one.
    func countRepeatedNotification() { repeated.add() }
}

extension VirtioTransport {
    /// The device's counters and the transport's. Needs no lock.
    var counters: [String: UInt64] { device.counters.merging(signals.counters.values) { _, ours in ours } }
}

extension VirtioPCIFunction {
    /// The device's counters and the transport's.
    public var counters: [String: UInt64] { transport.counters }
}

extension VirtioMMIODevice {
    /// The device's counters and the transport's.
    public var counters: [String: UInt64] { transport.counters }
}
