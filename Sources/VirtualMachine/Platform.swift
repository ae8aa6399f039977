import Host
import Hypervisor
import Machine
import Transport

/// The devices of the platform itself, in their places.
struct Platform: Sendable {
    let ports = AddressBus()
    let memory = AddressBus()
    let ioapic: IOAPIC
    let pci: PCIBus
    let serial: Serial16550
    let events: GenericEventDevice

    /// Builds the platform for a KVM machine. `serialPending` is signalled when serial output begins to wait for a flush, `serialRoom` when
    /// refused input would be taken.
    init(
        _ plan: borrowing MachinePlan, map: AddressMap, router: KVMInterruptRouter, end: EndSignal, serialPending: EventFD,
        serialRoom: EventFD
    ) throws(MachineStartError) {
        do {
            ioapic = IOAPIC(routing: router) { end.raise(.failed("KVM refused an interrupt route: \($0).")) }
            let serialInterrupt = try EventFD()
            let eventInterrupt = try EventFD()
            try router.attach(serialInterrupt, to: GSI.com1)
            try router.attach(eventInterrupt, to: GSI.events)
            serial = Serial16550(
                interrupt: serialInterrupt, output: plan.serialOutput, onPending: { serialPending.signal() },
                onRoom: { serialRoom.signal() })
            events = GenericEventDevice(interrupt: eventInterrupt)
        } catch {
            throw MachineStartError(.host, "The platform's interrupts cannot be set up: \(error).")
        }
        guard let a = ioapic.line(16), let b = ioapic.line(17), let c = ioapic.line(18), let d = ioapic.line(19) else {
            throw MachineStartError(.host, "The IOAPIC lacks the pins of the PCI bus.")
        }
        pci = PCIBus(memory: memory, window: AddressMap.pciWindow32, highWindow: map.pciWindow64, lines: (a, b, c, d))
        do {
            try memory.insert(ioapic, at: AddressMap.ioapic)
            try memory.insert(PCIConfigurationWindow(pci), at: AddressMap.ecam)
            let reset = ResetRegister(events: end)
            let configuration = ConfigurationAddressPorts(configuration: PCIConfigurationPorts(pci), reset: reset)
            try ports.insert(configuration, at: AddressMap.pciConfiguration)
            try ports.insert(serial, at: AddressMap.com1)
            try ports.insert(RealTimeClock(), at: AddressMap.rtc)
            try ports.insert(I8042(events: end), at: AddressMap.i8042)
            try ports.insert(PVPanic(events: end), at: AddressMap.pvpanic)
            try ports.insert(events, at: AddressMap.events)
            try ports.insert(SleepControl(events: end), at: AddressMap.sleepControl)
            if plan.debugExit { try ports.insert(DebugExit(events: end), at: AddressMap.debugExit) }
        } catch {
            throw MachineStartError(.host, "The address map has no room for the platform: \(error)")
        }
    }
}
