import Host
import Synchronization
import Virtio

/// What a front-end tells its driver, counted; and an event on which the test can wait for more.
final class CountingInterrupts: InterruptSink {
    private let changes = Atomic(0)
    private let failures = Atomic(0)
    private let event: EventFD
    private let call: EventFD

    init() throws {
        event = try EventFD()
        call = try EventFD()
    }

    func callEvent(_ queue: Int) -> EventFD? { call }
    func queueUsed(_ queue: Int) {}

    func configurationChanged() {
        changes.add(1, ordering: .acquiringAndReleasing)
        event.signal()
    }

    func deviceNeedsReset() {
        failures.add(1, ordering: .acquiringAndReleasing)
        event.signal()
    }

    /// How often the configuration was said to have changed.
    var configurationChanges: Int { changes.load(ordering: .acquiring) }
    /// How often the device asked for a reset.
    var resets: Int { failures.load(ordering: .acquiring) }

    /// Waits until something has been said.
    func wait() throws {
        guard event.wait(timeoutMilliseconds: Timeout.patience) else { throw Timeout("an interrupt") }
    }
}
