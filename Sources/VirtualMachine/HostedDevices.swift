import GuestMemory
import Host
import Hypervisor
import Logging
import Machine
import Transport
import Virtio

/// The virtio devices of a machine, each behind its transport.
struct HostedDevices: Sendable {
    /// The virtio-mmio slots in use, in order.
    let mmioSlots: [Int]
    /// What tells a kernel of its virtio-mmio devices when it does not look into ACPI.
    let commandLineWords: [String]
    private let devices: [any VirtioDevice]
    /// Keeps the transports, which the buses hold by their registers only.
    private let transports: [any Sendable & AnyObject]

    init(
        _ plans: [DevicePlan], platform: Platform, memory: GuestMemory, doorbells: KVMVirtualMachine, router: KVMInterruptRouter,
        name: String
    ) throws(MachineStartError) {
        var slots: [Int] = []
        var words: [String] = []
        var transports: [any Sendable & AnyObject] = []
        for plan in plans {
            // In process there is no jail to wait for.
            plan.device.onDeviceSandboxed()
            let logger = Logger(label: "swvmm.\(plan.id)")
            let log: @Sendable (String) -> Void = { logger.warning("\($0)") }
            switch plan.transport {
            case .pci:
                do {
                    transports.append(
                        try VirtioPCIFunction(
                            device: plan.device, memory: memory, bus: platform.pci, slot: try platform.pci.freeSlot(),
                            doorbells: doorbells, routing: router, log: log))
                } catch {
                    throw MachineStartError(.device(plan.id), "\(error)")
                }
            case .mmio:
                let slot = slots.count
                guard let range = AddressMap.virtioMMIO(slot: slot) else {
                    throw MachineStartError(
                        .device(plan.id), "expected at most \(GSI.virtioMMIO.count) devices on MMIO: each takes an interrupt of its own.")
                }
                do {
                    let interrupt = try EventFD()
                    try router.attach(interrupt, to: GSI.virtioMMIO[slot])
                    let transport = try VirtioMMIODevice(
                        device: plan.device, memory: memory, base: range.lowerBound, doorbells: doorbells, interrupt: interrupt, log: log)
                    try platform.memory.insert(transport, at: range)
                    transports.append(transport)
                } catch {
                    throw MachineStartError(.device(plan.id), "\(error)")
                }
                slots.append(slot)
                words.append("virtio_mmio.device=4K@0x\(String(range.lowerBound, radix: 16)):\(GSI.virtioMMIO[slot])")
            }
        }
        mmioSlots = slots
        commandLineWords = words
        devices = plans.map(\.device)
        self.transports = transports
    }

    /// Stops every device: drains what is in flight. A device that cannot stop has said so in its log; the process ends soon anyway.
    func stop() {
        for device in devices { try? device.reset() }
    }
}
