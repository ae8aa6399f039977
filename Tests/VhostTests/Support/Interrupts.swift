import Host
import Synchronization
import Virtio

/// What a device tells its driver, counted.
final class Interrupts: InterruptSink {
    private let counts = Mutex((configuration: 0, resets: 0))
    private let calls: [EventFD]
    private let event: EventFD

    init(queues: Int = 4) throws {
        event = try EventFD()
        calls = try (0..<queues).map { _ in try EventFD() }
    }

    func callEvent(_ queue: Int) -> EventFD? { calls.indices.contains(queue) ? calls[queue] : nil }
    func queueUsed(_ queue: Int) { callEvent(queue)?.signal() }

    func configurationChanged() {
        counts.withLock { $0.configuration += 1 }
        event.signal()
    }

    func deviceNeedsReset() {
        counts.withLock { $0.resets += 1 }
        event.signal()
    }

    var configurationChanges: Int { counts.withLock { $0.configuration } }
    var resets: Int { counts.withLock { $0.resets } }
    /// Waits until something has been said beside used buffers.
    func wait() -> Bool { event.wait(timeoutMilliseconds: 60_000) }
}
