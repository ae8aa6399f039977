import Host
import Hypervisor
import Synchronization

/// The interrupts of a virtio PCI function: MSI-X while the guest has enabled it, INTx with the ISR status otherwise (virtio 1.3, 4.1.5.3).
///
/// Its lock is its own and is held for a few instructions only, so device threads may call it while they are being stopped.
final class VirtioPCIInterrupts: TransportInterrupts {
    private static let queueBit: UInt8 = 1 << 0
    private static let configurationBit: UInt8 = 1 << 1

    /// What decides about the INTx line. ISR and line change together: a line raised after its ISR was read would never fall.
    private struct Legacy {
        var isr: UInt8 = 0
        var usesMSIX = false
        var isDisabled = false

        var status: Bool { isr != 0 && !usesMSIX }
        var level: Bool { status && !isDisabled }
    }

    let msix: MSIX
    /// One eventfd per queue, and one for configuration changes behind them: the sources of `msix`.
    private let sources: [EventFD]
    private let line: any InterruptLine
    private let usesMSIX = Atomic<Bool>(false)
    private let legacy = Mutex(Legacy())
    /// Without MSI-X, signals of another process are passed on by a thread; with it, by KVM.
    private let calls: CallEvents

    init(queueCount: Int, vectorCount: Int, routing: any InterruptRouting, line: any InterruptLine, log: GuestLog) throws(SystemError) {
        var sources: [EventFD] = []
        for _ in 0...queueCount { sources.append(try EventFD()) }
        self.sources = sources
        self.line = line
        calls = CallEvents(Array(sources.dropLast()))
        msix = MSIX(vectorCount: vectorCount, sources: sources, routing: routing, log: log)
    }

    /// The source of configuration changes.
    var configurationSource: Int { sources.count - 1 }

    func notifyQueue(_ queue: Int) {
        guard queue >= 0, queue < configurationSource else { return }
        if usesMSIX.load(ordering: .acquiring) || !raise(Self.queueBit, always: false) { sources[queue].signal() }
    }

    func callEvent(_ queue: Int, isReady: @escaping @Sendable () -> Bool) -> EventFD? {
        calls.event(queue) { [weak self] in self?.pass($0, isReady) }
    }

    /// Passes a signal of another process on. Whether the driver is ready is decided together with the line, so that a reset comes before it
    /// or after it: what comes before is forgotten.
    private func pass(_ queue: Int, _ isReady: () -> Bool) {
        let wasPassed = update { legacy in
            guard isReady() else { return true }
            if !legacy.usesMSIX { legacy.isr |= Self.queueBit }
            return !legacy.usesMSIX
        }
        // MSI-X has been switched on in between: the kernel takes it from here.
        if !wasPassed { sources[queue].signal() }
    }

    func notifyConfiguration() {
        // This bit is set whatever the kind of interrupt (4.1.4.5.1).
        if !raise(Self.configurationBit, always: true) { sources[configurationSource].signal() }
    }

    /// Sets an ISR bit and drives the line; false when MSI-X is on, where `always` still sets the bit.
    private func raise(_ bit: UInt8, always: Bool) -> Bool {
        update { legacy in
            if always || !legacy.usesMSIX { legacy.isr |= bit }
            return !legacy.usesMSIX
        }
    }

    func reset() {
        msix.resetSources()
        calls.drain()
        update { $0.isr = 0 }
    }

    func resetQueue(_ queue: Int) {
        msix.setVector(MSIX.noVector, of: queue)
    }

    /// Reads the ISR status, which clears it and lowers the line (4.1.4.5).
    func readISR() -> UInt8 {
        update { legacy in
            let value = legacy.isr
            legacy.isr = 0
            return value
        }
    }

    /// The interrupt status bit of the PCI status register.
    var status: Bool { legacy.withLock { $0.status } }

    /// The ISR status, left as it is; for a snapshot.
    var isr: UInt8 { legacy.withLock { $0.isr } }

    /// Takes over a saved ISR status, with what decides whether it drives the line: a function with MSI-X must not raise its line even for
    /// the moment until `setControl`, or the IOAPIC's state would tell of an interrupt that never was.
    func restore(isr: UInt8, interruptDisabled: Bool, usesMSIX: Bool) {
        update { legacy in
            legacy.isr = isr & (Self.queueBit | Self.configurationBit)
            legacy.isDisabled = interruptDisabled
            legacy.usesMSIX = usesMSIX
        }
    }

    /// Follows the command register and MSI-X message control.
    func setControl(interruptDisabled: Bool, usesMSIX enabled: Bool, functionMasked: Bool) {
        // On the way in, sources are ready before anything is signalled through them; on the way out, the line takes over first.
        if enabled {
            calls.setPassing(false)
            msix.setControl(enabled: true, functionMasked: functionMasked)
        }
        update { legacy in
            legacy.isDisabled = interruptDisabled
            legacy.usesMSIX = enabled
            usesMSIX.store(enabled, ordering: .releasing)
        }
        if !enabled {
            msix.setControl(enabled: false, functionMasked: functionMasked)
            calls.setPassing(true)
        }
    }

    private func update<Result: Sendable>(_ change: (inout Legacy) -> Result) -> Result {
        legacy.withLock { legacy in
            let before = legacy.level
            let result = change(&legacy)
            if legacy.level != before { line.setLevel(legacy.level) }
            return result
        }
    }
}
