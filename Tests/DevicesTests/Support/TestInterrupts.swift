import Host
import Synchronization
import Virtio

/// What a device under test tells its driver, counted; and an eventfd on which the test can wait for more.
final class TestInterrupts: InterruptSink {
    private let queues = Mutex<[Int: Int]>([:])
    private let changes = Atomic(0)
    private let failed = Atomic(false)
    let event: EventFD
    /// For devices in other processes.
    private let relay = Mutex<(events: [EventFD], relay: EventRelay?)>(([], nil))

    init() throws { event = try EventFD() }

    func callEvent(_ queue: Int) -> EventFD? {
        relay.withLock { state in
            if state.relay == nil {
                state.events = (0..<16).compactMap { _ in try? EventFD() }
                state.relay = try? EventRelay(state.events, name: "calls") { [weak self] in self?.queueUsed($0) }
                try? state.relay?.setWatching(true)
            }
            return state.events.indices.contains(queue) ? state.events[queue] : nil
        }
    }

    func queueUsed(_ queue: Int) {
        queues.withLock { $0[queue, default: 0] += 1 }
        event.signal()
    }

    func configurationChanged() {
        changes.add(1, ordering: .relaxed)
        event.signal()
    }

    func deviceNeedsReset() {
        failed.store(true, ordering: .releasing)
        event.signal()
    }

    /// DEVICE_NEEDS_RESET goes away with a reset.
    func clearNeedsReset() { failed.store(false, ordering: .releasing) }

    /// How often a used buffer notification came for the queue.
    func count(queue: Int) -> Int { queues.withLock { $0[queue] ?? 0 } }
    /// How often the configuration was said to have changed.
    var configurationChanges: Int { changes.load(ordering: .relaxed) }
    /// Whether the device asked for a reset.
    var needsReset: Bool { failed.load(ordering: .acquiring) }
}
