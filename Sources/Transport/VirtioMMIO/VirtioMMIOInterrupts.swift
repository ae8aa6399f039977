import Host
import Synchronization

/// The one interrupt of a virtio MMIO device: edge-triggered, with an InterruptStatus register that says what for (virtio 1.3, 4.2.2).
final class VirtioMMIOInterrupts: TransportInterrupts {
    private static let queueBit: UInt32 = 1 << 0
    private static let configurationBit: UInt32 = 1 << 1

    private let event: EventFD
    private let pending = Atomic<UInt32>(0)
    /// For a device in another process: which bit of InterruptStatus a signal stands for, only this process can note.
    private let calls: CallEvents
    /// Held while such a signal is passed on, and by a reset: so that one comes before the other.
    private let passing = Mutex(())

    /// A signal of `event` is an edge of the interrupt.
    init(_ event: EventFD, queueCount: Int) {
        self.event = event
        calls = CallEvents(queueCount: queueCount)
    }

    func callEvent(_ queue: Int, isReady: @escaping @Sendable () -> Bool) -> EventFD? {
        calls.event(queue) { [weak self] in self?.pass($0, isReady) }
    }

    /// Passes a signal of another process on, if the driver is ready.
    private func pass(_ queue: Int, _ isReady: () -> Bool) {
        passing.withLock { _ in
            if isReady() { notifyQueue(queue) }
        }
    }

    /// The InterruptStatus register.
    var status: UInt32 {
        get { pending.load(ordering: .sequentiallyConsistent) }
        set { pending.store(newValue & (Self.queueBit | Self.configurationBit), ordering: .sequentiallyConsistent) }
    }

    func notifyQueue(_ queue: Int) { raise(Self.queueBit) }
    func notifyConfiguration() { raise(Self.configurationBit) }

    private func raise(_ bit: UInt32) {
        pending.bitwiseOr(bit, ordering: .sequentiallyConsistent)
        event.signal()
    }

    /// A write to InterruptACK. The interrupt stays asserted while a bit is set (4.2.3.4): with edges, that takes another one.
    func acknowledge(_ bits: UInt32) {
        pending.bitwiseAnd(~bits, ordering: .sequentiallyConsistent)
        repeatEdge()
    }

    /// Makes another edge if something is pending.
    func repeatEdge() {
        if status != 0 { event.signal() }
    }

    func reset() {
        calls.drain()
        passing.withLock { _ in pending.store(0, ordering: .sequentiallyConsistent) }
    }

    func resetQueue(_ queue: Int) {}
}
