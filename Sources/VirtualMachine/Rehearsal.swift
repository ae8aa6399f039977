public import GuestMemory
import Host
import Hypervisor
import Machine
import Schema
import Synchronization

/// Platform and devices of a machine without KVM: no CPU runs, and interrupts and doorbells lead nowhere. What takes a saved state over
/// here takes it over in a machine as well, so a state can be checked where no machine can run.
struct Rehearsal: Sendable {
    let platform: Platform
    let devices: HostedDevices

    /// Puts new devices behind their transports, as `VirtualMachine.start` does.
    init(map: AddressMap, memory: GuestMemory, devices plans: [DevicePlan], debugExit: Bool) throws(MachineStartError) {
        let routing = NoInterrupts()
        let end = try hosted("make an event") { () throws(SystemError) in try EndSignal() }
        let pending = try hosted("make an event") { () throws(SystemError) in try EventFD() }
        let room = try hosted("make an event") { () throws(SystemError) in try EventFD() }
        platform = try Platform(
            serialOutput: NoSerialOutput(), debugExit: debugExit, map: map, router: routing, end: end, serialPending: pending,
            serialRoom: room)
        devices = try HostedDevices(plans, platform: platform, memory: memory, doorbells: NoDoorbells(), router: routing)
    }

    /// Takes over what a state says of platform and devices; once.
    func restore(_ state: MachineState) throws(MachineStartError) { try state.restore(devices, platform) }
}

extension VirtualMachine {
    /// Checks every field of a saved state, as a restore reads them, without KVM and without running anything. The devices are new ones,
    /// which nothing else may use; `memory` is RAM as it was saved.
    ///
    /// - Throws: an error whose part is `state` and whose sentence begins with the JSON path; the other parts as `start` does.
    public static func check(
        _ state: MachineState, memory: GuestMemory, devices: [DevicePlan], debugExit: Bool
    ) throws(MachineStartError) {
        let map: AddressMap
        do {
            map = try AddressMap(memorySize: memory.size, physicalAddressBits: state.physicalAddressBits)
        } catch {
            throw MachineStartError(.state, "cpus[0].cpuid: \(error).")
        }
        try Rehearsal(map: map, memory: memory, devices: devices, debugExit: debugExit).restore(state)
    }
}

extension MachineState {
    /// Puts new devices to sleep and has them and the platform take their states over.
    func restore(_ devices: HostedDevices, _ platform: Platform) throws(MachineStartError) {
        do {
            try devices.sleep()
            try devices.restore(self.devices)
            try platform.restore(self.platform)
        } catch {
            throw MachineStartError(.state, "\(error)")
        }
    }
}

/// Interrupts that reach nobody.
private final class NoInterrupts: InterruptRouting {
    /// Behind the IOAPIC's pins.
    private let next = Atomic(GSI.pinCount)

    func allocateGSI() -> UInt32 { next.wrappingAdd(1, ordering: .relaxed).oldValue }
    func releaseGSI(_ gsi: UInt32) {}
    func setMessage(_ message: MSIMessage?, for gsi: UInt32) {}
    func attach(_ event: EventFD, to gsi: UInt32) {}
    func detach(_ event: EventFD, from gsi: UInt32) {}
    func send(_ message: MSIMessage) {}
}

/// A serial port's output that takes nothing: what is unwritten stays in the port's state.
private final class NoSerialOutput: SerialOutput {
    func writeSerial(_ bytes: Span<UInt8>) -> Int { 0 }
}

/// Doorbells that nobody rings.
private final class NoDoorbells: DoorbellRegistry {
    func add(_ doorbell: Doorbell, event: EventFD) {}
    func remove(_ doorbell: Doorbell, event: EventFD) {}
}
