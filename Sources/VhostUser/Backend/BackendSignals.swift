import Host
import Synchronization
import Virtio

/// A device's way back to a front-end: a call descriptor for each queue, the channel for requests, and DEVICE_NEEDS_RESET.
final class BackendSignals: InterruptSink {
    private struct Queue {
        var call: EventFD?
        var error: EventFD?
    }

    private let queues: Mutex<[Queue]>
    private let channel = Mutex<MessageConnection?>(nil)
    private let failed = Atomic(false)
    private let report: @Sendable (String) -> Void

    init(queueCount: Int, report: @escaping @Sendable (String) -> Void) {
        queues = Mutex(Array(repeating: Queue(), count: queueCount))
        self.report = report
    }

    /// Whether DEVICE_NEEDS_RESET is set.
    var needsReset: Bool { failed.load(ordering: .acquiring) }

    func setCall(_ index: Int, _ event: EventFD?) { queues.withLock { $0[index].call = event } }
    func setError(_ index: Int, _ event: EventFD?) { queues.withLock { $0[index].error = event } }

    /// From now on configuration changes are announced there.
    func setChannel(_ connection: consuming MessageConnection) {
        var incoming: MessageConnection? = consume connection
        channel.withLock { channel in channel = incoming.take() }
    }

    /// The device begins anew.
    func clearFailure() { failed.store(false, ordering: .releasing) }

    func queueUsed(_ queue: Int) { queues.withLock { $0.indices.contains(queue) ? $0[queue].call : nil }?.signal() }

    func configurationChanged() {
        let header = MessageHeader(request: BackEndRequest.configurationChanged.rawValue, size: 0)
        channel.withLock { channel in
            switch channel {
            case .some(let connection): try? connection.send(header, [])
            case .none: break
            }
        }
    }

    func deviceNeedsReset() {
        guard !failed.exchange(true, ordering: .acquiringAndReleasing) else { return }
        report("cannot go on until its driver resets it")
        for event in queues.withLock({ $0.compactMap(\.error) }) { event.signal() }
        configurationChanged()
    }
}
