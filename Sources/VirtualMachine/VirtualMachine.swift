import GuestMemory
public import Host
import Hypervisor
import Machine
import Synchronization
import Transport
import Virtio

/// A machine: memory, virtual CPUs, platform and devices, put together from a plan.
///
/// It opens nothing and owns no terminal. Its threads run from `start` until `stop`; why it ended can be polled for.
public final class VirtualMachine: Sendable {
    private let memory: GuestMemory
    private let hypervisor: KVMVirtualMachine
    private let platform: Platform
    private let devices: HostedDevices
    private let loop: VCPULoop
    private let end: EndSignal
    private let handles: [VCPUHandle]
    private let threads: Mutex<[WorkerThread<KVMVirtualCPU>]>
    private let serialPump: SerialFlusher

    /// Builds the machine and starts its virtual CPUs.
    public static func start(_ plan: consuming MachinePlan) throws(MachineStartError) -> VirtualMachine {
        let end = try hosted("make an event") { () throws(SystemError) in try EndSignal() }
        let system: KVMSystem
        do {
            // The only other user of this descriptor would be a second machine, which gets its own plan.
            system = try KVMSystem(descriptor: try plan.kvm.duplicate())
        } catch {
            throw MachineStartError(.host, "/dev/kvm cannot be used as KVM's device (\(error)); 'swvmm doctor' tells what this host lacks.")
        }
        let missing = system.missingCapabilities()
        guard missing.isEmpty else {
            throw MachineStartError(.host, "This host's KVM lacks \(missing.map(\.name).joined(separator: ", ")).")
        }
        let policy = try cpuPolicy(plan, system: system)
        let map: AddressMap
        do {
            map = try AddressMap(memorySize: plan.memorySize, physicalAddressBits: policy.physicalAddressBits)
        } catch {
            throw MachineStartError(.memory, "\(error).")
        }
        let memory = try hosted("reserve guest memory") { () throws(SystemError) in try GuestMemory(ranges: map.memory) }
        let hypervisor = try hosted("make a virtual machine") { () throws(SystemError) in
            try KVMVirtualMachine(
                system,
                KVMVirtualMachine.Configuration(
                    memory: memory, ioapicPins: GSI.pinCount, taskStateAddress: AddressMap.taskState.lowerBound,
                    identityMapAddress: AddressMap.identityMap.lowerBound))
        }
        let router = KVMInterruptRouter(hypervisor, system: system, pins: GSI.pinCount)
        let serialPump = try hosted("make an event") { () throws(SystemError) in try SerialFlusher.Events() }
        let platform = try Platform(
            plan, map: map, router: router, end: end, serialPending: serialPump.pending, serialRoom: serialPump.room)
        let devices = try HostedDevices(
            plan.devices, platform: platform, memory: memory, doorbells: hypervisor, router: router, name: plan.name)
        let entry = try load(plan, devices: devices, map: map, memory: memory)
        let loop = VCPULoop(ports: platform.ports, memory: platform.memory, ioapic: platform.ioapic, end: end)
        var threads: [WorkerThread<KVMVirtualCPU>] = []
        var handles: [VCPUHandle] = []
        let setup = VCPUSetup(policy: policy, entry: entry, memory: memory)
        for index in 0..<plan.cpuCount {
            let cpu = try setup.make(index, of: hypervisor)
            handles.append(cpu.handle)
            threads.append(
                try hosted("start a thread") { [cpu = Slot(cpu)] () throws(SystemError) in
                    guard let cpu = cpu.take() else { throw SystemError("vcpu", .invalidArgument) }
                    return try WorkerThread(name: "vcpu\(index)", state: cpu) { cpu, _ in loop.run(&cpu) }
                })
        }
        return VirtualMachine(
            memory: memory, hypervisor: hypervisor, platform: platform, devices: devices, loop: loop, end: end, handles: handles,
            threads: threads, serialPump: SerialFlusher(serialPump, serial: platform.serial))
    }

    private init(
        memory: GuestMemory, hypervisor: KVMVirtualMachine, platform: Platform, devices: HostedDevices, loop: VCPULoop, end: EndSignal,
        handles: [VCPUHandle], threads: consuming [WorkerThread<KVMVirtualCPU>], serialPump: SerialFlusher
    ) {
        self.memory = memory
        self.hypervisor = hypervisor
        self.platform = platform
        self.devices = devices
        self.loop = loop
        self.end = end
        self.handles = handles
        self.threads = Mutex(threads)
        self.serialPump = serialPump
    }

    /// Becomes readable when the machine has come to its end.
    public var endEvent: EventFD { end.event }

    /// Why the machine ended; nil while it runs.
    public var endReason: MachineEnd? { end.reason }

    /// Presses the guest's power button. Whether anything follows is the guest's decision.
    public func pressPowerButton() { platform.events.pressPowerButton() }

    /// Offers input to the serial port; says how many bytes it took. When not all, `serialRoom` tells when to come again.
    public func receiveSerial(_ bytes: Span<UInt8>) -> Int { platform.serial.receive(bytes) }

    /// Readable when the serial port has room again for input that it refused.
    public var serialRoom: EventFD { serialPump.events.room }
    /// Readable when serial output waits: call `flushSerial` some milliseconds later.
    public var serialPending: EventFD { serialPump.events.pending }
    /// Writes the serial output that waits for company.
    public func flushSerial() { platform.serial.flush() }

    /// Stops the virtual CPUs and the devices, and says why the machine ended. Harmless when it has ended already.
    public func stop() -> MachineEnd {
        end.raise(.stopped)
        loop.requestStop()
        for handle in handles { handle.requestExit() }
        let threads = threads.withLock { threads in
            let taken = threads
            threads = []
            return taken
        }
        for thread in threads { _ = thread.stop() }
        devices.stop()
        platform.serial.flush()
        return end.reason ?? .stopped
    }

    deinit { _ = stop() }

    private static func cpuPolicy(_ plan: borrowing MachinePlan, system: KVMSystem) throws(MachineStartError) -> CPUIDPolicy {
        let supported = try hosted("read KVM's CPUID") { () throws(SystemError) in try system.supportedCPUID() }
        let most = system.check(.maxVCPUCount)
        guard plan.cpuCount <= most else {
            throw MachineStartError(.cpuCount, "expected at most \(most), which is what this host's KVM can run, found \(plan.cpuCount).")
        }
        do {
            return try CPUIDPolicy(
                supported: supported, cpuCount: plan.cpuCount, mask: plan.cpuMask,
                hasTSCDeadlineTimer: system.check(.tscDeadlineTimer) > 0)
        } catch {
            throw MachineStartError(.cpuMask, "\(error)")
        }
    }

    /// Places kernel, initrd, command line and ACPI tables.
    private static func load(
        _ plan: borrowing MachinePlan, devices: HostedDevices, map: AddressMap, memory: GuestMemory
    ) throws(MachineStartError) -> Kernel.EntryPoint {
        let tables: ACPITables
        do {
            tables = try ACPITables.write(cpuCount: plan.cpuCount, map: map, mmioSlots: devices.mmioSlots, into: memory)
        } catch {
            throw MachineStartError(.host, "\(error)")
        }
        var commandLine = plan.commandLine
        for word in devices.commandLineWords { commandLine += commandLine.isEmpty ? word : " \(word)" }
        do {
            return try Kernel.load(
                plan.kernel, initrd: plan.initrd, commandLine: commandLine,
                randomSeed: plan.entropy, rsdp: tables.rsdp, map: map, into: memory)
        } catch {
            let part: MachineStartError.Part =
                switch error.subject {
                case .kernel: .kernel
                case .initrd: .initrd
                case .commandLine: .commandLine
                case .memory: .memory
                }
            throw MachineStartError(part, "\(error).")
        }
    }
}

/// Runs a step that only the host can make fail, and says which it was.
func hosted<Result: ~Copyable>(
    _ step: String, _ body: () throws(SystemError) -> Result
) throws(MachineStartError) -> Result {
    do { return try body() } catch { throw MachineStartError(.host, "The host could not \(step) (\(error)).") }
}
