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
    let configurationPorts: PCIConfigurationPorts
    /// What has a state of its own, by the names that a snapshot uses.
    let devices: [String: any MachineDevice]

    /// Builds the platform. `debugExit` says whether its port is there; `serialPending` is signalled when serial output begins to wait for a flush, `serialRoom` when
    /// refused input would be taken.
    init(
        serialOutput: any SerialOutput, debugExit: Bool, map: AddressMap, router: any InterruptRouting, end: EndSignal,
        serialPending: EventFD, serialRoom: EventFD
    ) throws(MachineStartError) {
        do {
            ioapic = IOAPIC(routing: router) { end.raise(.failed("KVM refused an interrupt route: \($0).")) }
            let serialInterrupt = try EventFD()
            let eventInterrupt = try EventFD()
            try router.attach(serialInterrupt, to: GSI.com1)
            try router.attach(eventInterrupt, to: GSI.events)
            serial = Serial16550(
                interrupt: serialInterrupt, output: serialOutput, onPending: { serialPending.signal() },
                onRoom: { serialRoom.signal() })
            events = GenericEventDevice(interrupt: eventInterrupt)
        } catch {
            throw MachineStartError(.host, "The platform's interrupts cannot be set up: \(error).")
        }
        guard let a = ioapic.line(16), let b = ioapic.line(17), let c = ioapic.line(18), let d = ioapic.line(19) else {
            throw MachineStartError(.host, "The IOAPIC lacks the pins of the PCI bus.")
        }
        pci = PCIBus(memory: memory, window: AddressMap.pciWindow32, highWindow: map.pciWindow64, lines: (a, b, c, d))
        let reset = ResetRegister(events: end)
        let clock = RealTimeClock()
        let keyboard = I8042(events: end)
        let panic = PVPanic(events: end)
        let sleep = SleepControl(events: end)
        configurationPorts = PCIConfigurationPorts(pci)
        devices = [
            "ioapic": ioapic, "serial": serial, "realTimeClock": clock, "keyboardController": keyboard, "genericEvents": events,
            "sleepControl": sleep, "resetRegister": reset,
        ]
        do {
            try memory.insert(ioapic, at: AddressMap.ioapic)
            try memory.insert(PCIConfigurationWindow(pci), at: AddressMap.ecam)
            try ports.insert(
                ConfigurationAddressPorts(configuration: configurationPorts, reset: reset), at: AddressMap.pciConfiguration)
            try ports.insert(serial, at: AddressMap.com1)
            try ports.insert(clock, at: AddressMap.rtc)
            try ports.insert(keyboard, at: AddressMap.i8042)
            try ports.insert(panic, at: AddressMap.pvpanic)
            try ports.insert(events, at: AddressMap.events)
            try ports.insert(sleep, at: AddressMap.sleepControl)
            if debugExit { try ports.insert(DebugExit(events: end), at: AddressMap.debugExit) }
        } catch {
            throw MachineStartError(.host, "The address map has no room for the platform: \(error)")
        }
    }

    /// Raises again what may have been lost while the machine slept. `isInFlight` says whether a local APIC works on a vector.
    func resume(isInFlight: (UInt8) -> Bool) {
        for device in devices.values { device.resume() }
        ioapic.reconcile(isInFlight: isInFlight)
    }
}
