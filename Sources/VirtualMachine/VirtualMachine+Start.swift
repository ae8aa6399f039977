import GuestMemory
import Host
import Hypervisor
import Machine
import Schema
import Snapshot
import Synchronization

// How a machine comes to its first instruction: from a kernel, or from a saved state.

extension VirtualMachine {
    /// Makes the CPUs, as a boot loader leaves them or as they were saved, and has them run unless the machine starts asleep.
    func begin(
        _ plan: borrowing MachinePlan, policy: CPUIDPolicy, map: AddressMap, loop: VCPULoop
    ) throws(MachineStartError) {
        let generation = VMGeneration(bytes: plan.generation)
        switch plan.origin {
        case .boot(let boot):
            let entry = try Self.load(boot, cpuCount: plan.cpuCount, devices: devices, map: map, memory: memory)
            generation?.write(into: memory)
            let setup = VCPUSetup(policy: policy, entry: entry, memory: memory)
            let cpuid = (0..<plan.cpuCount).map { policy.entries(apicID: UInt32(truncatingIfNeeded: $0)) }
            life.withLock { $0.cpuid = cpuid }
            for index in 0..<plan.cpuCount { try add(try setup.make(index, of: hypervisor), loop) }
            try life.withLock { (life) throws(MachineStartError) in
                if plan.startsAsleep { return try startAsleep(&life) }
                threads.run()
                enter(.running, &life)
            }
        case .restore(let restore):
            let state = try restore.state.value()
            if let refusal = state.contradiction(cpuCount: plan.cpuCount) ?? state.refusal(by: policy) {
                throw MachineStartError(.state, refusal)
            }
            try life.withLock { (life) throws(MachineStartError) in
                try state.restore(devices, platform)
                for cpu in state.cpus { try add(try make(cpu, clock: state.clock), loop) }
                life.clock = state.clock
                life.clockPolicy = restore.clockPolicy
                life.newGeneration = generation
                life.cpuid = state.cpus.map(\.cpuid)
                life.restoredFrom = restore.identity
                life.lastSaved = restore.identity
                inputs.withLock { $0.isClosed = true }
                enter(.asleep, &life)
            }
            guard !plan.startsAsleep else { return }
            do { _ = try wake() } catch { throw MachineStartError(.host, error.description) }
        }
    }

    private func add(_ cpu: consuming KVMVirtualCPU, _ loop: VCPULoop) throws(MachineStartError) {
        let cpu = Slot(cpu)
        try hosted("start a thread") { () throws(SystemError) in
            guard let cpu = cpu.take() else { throw SystemError("vcpu", .invalidArgument) }
            try threads.add(cpu) { loop.step(&$0) }
        }
    }

    /// A machine that has not run: its devices sleep as new ones, its clocks begin when it wakes.
    private func startAsleep(_ life: inout Life) throws(MachineStartError) {
        do {
            guard threads.stand() else { throw MachineError("A virtual CPU did not stand still in time.") }
            try devices.sleep()
            life.clock = try MachineClock.capture(hypervisor, threads)
        } catch {
            throw MachineStartError(.host, "\(error)")
        }
        inputs.withLock { $0.isClosed = true }
        enter(.asleep, &life)
    }

    /// A virtual CPU with a saved state.
    private func make(_ state: CPUState, clock: MachineClock) throws(MachineStartError) -> KVMVirtualCPU {
        let refused: [KVMMSREntry]
        let cpu = try hosted("make virtual CPU \(state.id)") { () throws(SystemError) in try hypervisor.makeVirtualCPU(id: state.id) }
        refused = try hosted("restore virtual CPU \(state.id)") { () throws(SystemError) in
            if try cpu.tscKHz() != clock.tscKHz { try cpu.setTSCKHz(clock.tscKHz) }
            return try state.apply(to: cpu)
        }
        guard refused.isEmpty else {
            let names = refused.map { "0x" + String($0.index, radix: 16) }.joined(separator: ", ")
            throw MachineStartError(.state, "cpus[\(state.id)].msrs: this host does not take the saved values of the registers \(names).")
        }
        return cpu
    }

    static func guestMemory(_ plan: borrowing MachinePlan, policy: CPUIDPolicy) throws(MachineStartError) -> GuestMemory {
        switch plan.origin {
        case .boot:
            let map = try addressMap(plan, policy: policy)
            let (isShared, tracksWrites) = (plan.sharesMemory, plan.tracksWrites)
            return try hosted("reserve guest memory") { () throws(SystemError) in
                try GuestMemory(ranges: map.memory, isShared: isShared, tracksWrites: tracksWrites)
            }
        case .restore(let restore): return restore.memory
        }
    }

    /// The map of the machine, which for a saved one is the map that its guest has seen.
    static func addressMap(_ plan: borrowing MachinePlan, policy: CPUIDPolicy) throws(MachineStartError) -> AddressMap {
        let bits: Int
        switch plan.origin {
        case .boot: bits = policy.physicalAddressBits
        case .restore(let restore): bits = try restore.state.value().physicalAddressBits
        }
        do {
            return try AddressMap(memorySize: plan.memorySize, physicalAddressBits: bits)
        } catch {
            throw MachineStartError(.memory, "\(error).")
        }
    }

    static func cpuPolicy(_ plan: borrowing MachinePlan, system: KVMSystem) throws(MachineStartError) -> CPUIDPolicy {
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
    static func load(
        _ plan: borrowing BootPlan, cpuCount: Int, devices: HostedDevices, map: AddressMap, memory: GuestMemory
    ) throws(MachineStartError) -> Kernel.EntryPoint {
        let tables: ACPITables
        do {
            tables = try ACPITables.write(cpuCount: cpuCount, map: map, mmioSlots: devices.mmioSlots, into: memory)
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
