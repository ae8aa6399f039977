import GuestMemory
public import Host
import Hypervisor
import Machine
public import Schema
import Snapshot
import Synchronization
import Transport
import Virtio

/// A machine: memory, virtual CPUs, platform and devices, put together from a plan.
///
/// It opens nothing and owns no terminal. Its threads run from `start` until `stop`; why it ended can be polled for.
public final class VirtualMachine: Sendable {
    /// What changes when the machine sleeps and wakes. Its lock is held while it does.
    struct Life: Sendable {
        var phase: MachinePhase
        /// The guest's time while it sleeps.
        var clock: MachineClock?
        /// What the next wake does about the time that has passed.
        var clockPolicy = ClockPolicy.resume
        /// The ID that the guest gets at its first wake after a restore.
        var newGeneration: VMGeneration?
        /// What each CPU was told of itself.
        var cpuid: [[KVMCPUIDEntry]] = []
        /// What has been written since `lastSaved`, as far as it is tracked.
        var written: WrittenPages
        /// The identity of the last whole snapshot.
        var lastSaved: String?
        /// The identity of the snapshot that RAM began as.
        var restoredFrom: String?
    }

    /// What comes from outside. A sleeping machine takes none of it, or its saved state would not be one.
    struct Inputs: Sendable {
        var isClosed = false
        /// The power button was pressed meanwhile.
        var powerButton = false
    }

    let memory: GuestMemory
    let hypervisor: KVMVirtualMachine
    let platform: Platform
    let devices: HostedDevices
    let threads: VCPUThreads
    let end: EndSignal
    let serialPump: SerialFlusher
    /// The model-specific registers that a snapshot keeps on this host.
    let msrIndices: [UInt32]
    let life: Mutex<Life>
    /// The phase for those who do not want to wait for `life`.
    let shownPhase: Atomic<MachinePhase>
    let inputs = Mutex(Inputs())

    /// Builds the machine and, unless it starts asleep, has it run.
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
        let memory = try guestMemory(plan, policy: policy)
        let hypervisor = try hosted("make a virtual machine") { () throws(SystemError) in
            var configuration = KVMVirtualMachine.Configuration(
                memory: memory, ioapicPins: GSI.pinCount, taskStateAddress: AddressMap.taskState.lowerBound,
                identityMapAddress: AddressMap.identityMap.lowerBound)
            configuration.logDirtyPages = plan.tracksWrites
            return try KVMVirtualMachine(system, configuration)
        }
        // A saved state is read meanwhile.
        let map = try addressMap(plan, policy: policy)
        let router = KVMInterruptRouter(hypervisor, system: system, pins: GSI.pinCount)
        let serialPump = try hosted("make an event") { () throws(SystemError) in try SerialFlusher.Events() }
        let platform = try Platform(
            serialOutput: plan.serialOutput, debugExit: plan.debugExit, map: map, router: router, end: end,
            serialPending: serialPump.pending, serialRoom: serialPump.room)
        let devices = try HostedDevices(
            plan.devices, platform: platform, memory: memory, doorbells: hypervisor, router: router)
        let threads = try hosted("make an event") { () throws(SystemError) in try VCPUThreads() }
        let loop = VCPULoop(ports: platform.ports, memory: platform.memory, ioapic: platform.ioapic, end: end)
        let machine = VirtualMachine(
            memory: memory, hypervisor: hypervisor, platform: platform, devices: devices, threads: threads, end: end,
            serialPump: SerialFlusher(serialPump, serial: platform.serial),
            msrIndices: try hosted("list its registers") { () throws(SystemError) in try system.msrIndices() })
        try machine.begin(plan, policy: policy, map: map, loop: loop)
        return machine
    }

    private init(
        memory: GuestMemory, hypervisor: KVMVirtualMachine, platform: Platform, devices: HostedDevices, threads: VCPUThreads,
        end: EndSignal, serialPump: SerialFlusher, msrIndices: [UInt32]
    ) {
        self.memory = memory
        self.hypervisor = hypervisor
        self.platform = platform
        self.devices = devices
        self.threads = threads
        self.end = end
        self.serialPump = serialPump
        self.msrIndices = msrIndices
        life = Mutex(Life(phase: .created, written: WrittenPages(memory)))
        shownPhase = Atomic(.created)
    }

    /// Where the machine is in its life. Answers at once, also while it falls asleep or is saved.
    public var phase: MachinePhase { shownPhase.load(ordering: .acquiring) }

    /// Becomes readable when the machine has come to its end.
    public var endEvent: EventFD { end.event }

    /// Why the machine ended; nil while it runs.
    public var endReason: MachineEnd? { end.reason }

    /// Presses the guest's power button; a machine that sleeps notices when it wakes. Whether anything follows is the guest's decision.
    public func pressPowerButton() {
        inputs.withLock { inputs in
            // Under the lock, or the machine could be asleep before the button is down.
            if inputs.isClosed { inputs.powerButton = true } else { platform.events.pressPowerButton() }
        }
    }

    /// Offers input to the serial port; says how many bytes it took. When not all, `serialRoom` tells when to come again. A machine that
    /// sleeps takes none.
    public func receiveSerial(_ bytes: Span<UInt8>) -> Int {
        inputs.withLock { $0.isClosed ? 0 : platform.serial.receive(bytes) }
    }

    /// The VM Generation ID that the guest sees, as text.
    public var generationID: String? { VMGeneration(in: memory)?.text }

    /// What each virtio device is and how it fares.
    public var deviceReport: [JSONValue] { devices.report }

    /// Readable when the serial port has room again for input that it refused.
    public var serialRoom: EventFD { serialPump.events.room }
    /// Readable when serial output waits: call `flushSerial` some milliseconds later.
    public var serialPending: EventFD { serialPump.events.pending }
    /// Writes the serial output that waits for company.
    public func flushSerial() { platform.serial.flush() }

    /// Stops the virtual CPUs and the devices, and says why the machine ended. Harmless when it has ended already.
    public func stop() -> MachineEnd {
        // A snapshot that is being written sees this and gives up.
        end.raise(.stopped)
        life.withLock { life in
            guard life.phase != .stopped else { return }
            threads.end()
            devices.stop()
            platform.serial.flush()
            enter(.stopped, &life)
        }
        return end.reason ?? .stopped
    }

    deinit { _ = stop() }
}

/// Runs a step that only the host can make fail, and says which it was.
func hosted<Result: ~Copyable>(
    _ step: String, _ body: () throws(SystemError) -> Result
) throws(MachineStartError) -> Result {
    do { return try body() } catch { throw MachineStartError(.host, "The host could not \(step) (\(error)).") }
}
