import CLinux
public import Host
import Synchronization

/// KVM's GSI routing table, irqfds and single messages.
///
/// The GSIs of the IOAPIC's pins stand at the beginning and always belong to the IOAPIC; the rest are allocated. KVM takes the table
/// only as a whole, and each time waits until no interrupt uses the old one, so the table is written only when something changed.
public final class KVMInterruptRouter: InterruptRouting {
    private struct State {
        var messages: [UInt32: MSIMessage] = [:]
        var allocated: Set<UInt32> = []
        var batches = 0
        var isStale = false
        var tableWrites = 0
    }

    /// How often KVM was given a new table.
    var tableWrites: Int { state.withLock { $0.tableWrites } }

    private let machine: KVMVirtualMachine
    private let pins: UInt32
    private let limit: UInt32
    private let state = Mutex(State())

    /// A router for a machine with an interrupt controller of `pins` pins.
    public init(_ machine: KVMVirtualMachine, system: KVMSystem, pins: UInt32) {
        self.machine = machine
        self.pins = pins
        limit = UInt32(clamping: system.check(.irqRouting))
    }

    /// The lowest GSI above the pins that is free; fails with ENOSPC when KVM's table is full.
    public func allocateGSI() throws(SystemError) -> UInt32 {
        let gsi = state.withLock { state -> UInt32? in
            guard let free = (pins..<max(limit, pins)).first(where: { !state.allocated.contains($0) }) else { return nil }
            state.allocated.insert(free)
            return free
        }
        guard let gsi else { throw SystemError("GSI allocation", .noSpace) }
        return gsi
    }

    /// Gives a GSI back, with its message.
    public func releaseGSI(_ gsi: UInt32) {
        // A route that cannot be removed leads from a GSI that nothing signals any more: nothing is lost, and nobody could help.
        try? setMessage(nil, for: gsi)
        _ = state.withLock { $0.allocated.remove(gsi) }
    }

    /// Sets or (with nil) removes the message behind a GSI. A message that leads to no LAPIC counts as none.
    public func setMessage(_ message: MSIMessage?, for gsi: UInt32) throws(SystemError) {
        guard gsi < limit else { throw SystemError("KVM_SET_GSI_ROUTING", .invalidArgument) }
        // The guest wrote this message. One that leads to no LAPIC would make KVM refuse the whole table: it has no route instead,
        // as on a real bus, where it would be a write to somewhere else.
        let message = message.flatMap { $0.leadsToLocalAPIC ? $0 : nil }
        try locked { state in
            guard state.messages[gsi] != message else { return }
            state.messages[gsi] = message
            state.isStale = true
        }
    }

    /// Writes the table once for all changes that `body` makes, at its end. Changes by other threads meanwhile may wait for it, too.
    public func batch<Result>(_ body: () throws(SystemError) -> Result) throws(SystemError) -> Result {
        state.withLock { $0.batches += 1 }
        let result: Result
        do {
            result = try body()
        } catch {
            // What was changed before the failure holds; the failure of `body` is the one to report.
            try? locked { $0.batches -= 1 }
            throw error
        }
        try locked { $0.batches -= 1 }
        return result
    }

    /// From now on a signal of `event` injects the GSI's message.
    public func attach(_ event: EventFD, to gsi: UInt32) throws(SystemError) {
        try register(event, gsi, flags: 0)
        // KVM has injected once for a signal from before, but leaves the counter as it was.
        event.drain()
    }

    /// Undoes `attach`.
    public func detach(_ event: EventFD, from gsi: UInt32) throws(SystemError) {
        try register(event, gsi, flags: UInt32(KVM_IRQFD_FLAG_DEASSIGN))
    }

    private func register(_ event: EventFD, _ gsi: UInt32, flags: UInt32) throws(SystemError) {
        var request = kvm_irqfd()
        request.fd = UInt32(bitPattern: event.rawValue)
        request.gsi = gsi
        request.flags = flags
        try KVMRequest.set(machine.descriptor.rawValue, SWV_KVM_IRQFD, request, "KVM_IRQFD")
    }

    /// Injects a message once; one that leads to no LAPIC goes nowhere.
    public func send(_ message: MSIMessage) throws(SystemError) {
        guard message.leadsToLocalAPIC else { return }
        var request = kvm_msi()
        request.address_lo = UInt32(truncatingIfNeeded: message.address)
        request.address_hi = UInt32(truncatingIfNeeded: message.address >> 32)
        request.data = message.data
        do {
            try KVMRequest.set(machine.descriptor.rawValue, SWV_KVM_SIGNAL_MSI, request, "KVM_SIGNAL_MSI")
        } catch {
            // KVM's way to say that no LAPIC has this destination: the guest's affair, not a failure of the host.
            guard error.errno == .notPermitted else { throw error }
        }
    }

    /// Changes the state and, unless a batch is open, brings KVM's table up to date. The lock is held across the ioctl, or an older
    /// table could overtake a newer one.
    private func locked(_ change: (inout State) -> Void) throws(SystemError) {
        try state.withLock { (state) throws(SystemError) in
            change(&state)
            guard state.batches == 0, state.isStale else { return }
            let routes = state.messages.map { swv_kvm_make_msi_route($0.key, $0.value.address, $0.value.data) }
            let table = KVMList<swv_kvm_msi_route>(headerSize: MemoryLayout<kvm_irq_routing>.size, routes)
            let raw = machine.descriptor.rawValue
            _ = try retryingOnInterrupt("KVM_SET_GSI_ROUTING") { unsafe swv_kvm_structure(raw, SWV_KVM_SET_GSI_ROUTING, table.base) }
            state.isStale = false
            state.tableWrites += 1
        }
    }
}

extension MSIMessage {
    /// Whether a write to the address reaches a LAPIC (Intel SDM volume 3, 11.11.1). The upper half is zero: with more than 255
    /// processors KVM takes the upper bits of the destination there, and such machines we do not make.
    var leadsToLocalAPIC: Bool { address >> 20 == 0xfee }
}
