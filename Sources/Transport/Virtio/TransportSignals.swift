import Host
import Synchronization
import Virtio

/// The device status field and the notifications that depend on it: the part of a transport that device threads reach.
///
/// Apart from `VirtioTransport` and without its lock, because whoever stops a worker holds that lock while the worker may be here.
final class TransportSignals: InterruptSink {
    private let interrupts: any TransportInterrupts
    let counters: TransportCounters
    private let bits = Atomic<UInt8>(0)
    private let configurationPending = Atomic<Bool>(false)

    init(_ interrupts: any TransportInterrupts, queueCount: Int) {
        self.interrupts = interrupts
        counters = TransportCounters(queueCount: queueCount)
    }

    /// The device status field (virtio 1.3, 2.1).
    var status: DeviceStatus { DeviceStatus(rawValue: bits.load(ordering: .sequentiallyConsistent)) }

    /// Sets bits of the status field.
    func set(_ status: DeviceStatus) { bits.bitwiseOr(status.rawValue, ordering: .sequentiallyConsistent) }

    /// Sets the status field to 0 and forgets a change that no driver has been told of. No device thread runs.
    func clear() {
        configurationPending.store(false, ordering: .sequentiallyConsistent)
        bits.store(0, ordering: .sequentiallyConsistent)
    }

    /// Whether a configuration change waits for DRIVER_OK.
    var isConfigurationChangePending: Bool { configurationPending.load(ordering: .sequentiallyConsistent) }

    /// Takes over a saved status field. No device thread runs.
    func restore(_ status: DeviceStatus, isConfigurationChangePending: Bool) {
        configurationPending.store(isConfigurationChangePending, ordering: .sequentiallyConsistent)
        bits.store(status.rawValue, ordering: .sequentiallyConsistent)
    }

    func queueUsed(_ queue: Int) {
        // No notification may follow a reset before the driver is ready again (2.4.1).
        guard status.contains(.driverOK) else { return }
        counters.countNotification(queue: queue)
        interrupts.notifyQueue(queue)
    }

    func callEvent(_ queue: Int) -> EventFD? {
        interrupts.callEvent(queue) { [weak self] in self?.status.contains(.driverOK) == true }
    }

    /// Sends a used buffer notification that may have been lost. The transport does so with its lock held, while the queue's own thread
    /// may be here, too.
    func repeatQueueUsed(_ queue: Int) {
        guard status.contains(.driverOK) else { return }
        counters.countRepeatedNotification()
        interrupts.notifyQueue(queue)
    }

    func configurationChanged() {
        configurationPending.store(true, ordering: .sequentiallyConsistent)
        deliverConfigurationChange()
    }

    func deviceNeedsReset() {
        set(.needsReset)
        configurationChanged()
    }

    /// Sends a configuration change notification if one is due. A change that comes while the driver is not ready waits for DRIVER_OK:
    /// the driver may have read its configuration just before. Flag first, status second, and the other way round at DRIVER_OK, so that
    /// one of the two threads sees both.
    func deliverConfigurationChange() {
        guard status.contains(.driverOK), configurationPending.exchange(false, ordering: .sequentiallyConsistent) else { return }
        interrupts.notifyConfiguration()
    }
}
