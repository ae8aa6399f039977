import CLinux
import Devices
import GuestMemory
import Host
import Logging
import Machine
import Schema
import Snapshot
import VirtualMachine
import Virtio

/// Resolves a configuration into a plan: opens every path that it names, makes taps and starts helpers, and hands over typed values and
/// open descriptors. The only place where paths are opened.
struct Planner {
    /// What the guest starts from.
    enum Origin: Sendable {
        /// The kernel that the configuration names.
        case kernel
        /// A snapshot.
        case snapshot(SavedSnapshot, PendingState, RestoreRequest)
    }

    private let configuration: VMConfiguration
    private let file: String
    private let origin: Origin
    private let document: JSONValue
    private let log: LogSettings

    /// `document` is the configuration with all defaults in it; `file` names it in messages.
    init(_ configuration: VMConfiguration, document: JSONValue, file: String, origin: Origin, log: LogSettings) {
        self.configuration = configuration
        self.document = document
        self.log = log
        self.file = file
        self.origin = origin
    }

    /// A machine's plan and what the supervisor keeps for it.
    struct Plan: ~Copyable {
        var machine: MachinePlan?
        let resources: VMResources
    }

    func plan(asleep: Bool) throws(VMError) -> Plan {
        do { return try makePlan(asleep: asleep) } catch {
            // A snapshot that is damaged says so before anything that it names is found wanting.
            if case .snapshot(_, let state, _) = origin {
                do throws(MachineStartError) { _ = try state.value() } catch { throw explainState(error) }
            }
            throw VMError(error.code, error.code == .host || error.message.hasPrefix("/") ? error.message : "\(file): \(error.message)")
        }
    }

    private func makePlan(asleep: Bool) throws(VMError) -> Plan {
        try checkHost()
        var machineOrigin: MachineOrigin? = try planOrigin()
        let kvm = try openKVM()
        let terminal = try TerminalStream(needed: usesTerminal)
        var planner = DevicePlanner(vmName: configuration.name, log: log)
        // All processes first, so that they start side by side.
        var prepared = FixedArray<DevicePlanner.Prepared?>(count: configuration.devices.count) { _ in nil }
        for (index, settings) in configuration.devices.enumerated() {
            prepared[index] = try planner.prepare(
                settings, document: deviceDocument(index), key: "devices[\(index)]", isolation: configuration.isolation, terminal: terminal)
        }
        var devices: [DevicePlan] = []
        for (index, settings) in configuration.devices.enumerated() {
            guard let opened = prepared[index].take() else { continue }
            let device = try planner.make(settings, opened, key: "devices[\(index)]", terminal: terminal)
            devices.append(DevicePlan(id: settings.id, transport: settings.transport ?? configuration.transport, device: device))
        }
        let serial = try planner.makeSerial(configuration.resolvedSerial, terminal: terminal)
        let generation = try VMError.host("read entropy") { () throws(SystemError) in try randomBytes(16) }
        guard let taken = machineOrigin.take() else { throw VMError(.failure, "The plan is empty.") }
        let machine = MachinePlan(
            name: configuration.name, kvm: kvm, cpuCount: configuration.cpuCount, cpuMask: configuration.cpuMask,
            memorySize: configuration.memorySize, origin: taken, startsAsleep: asleep, generation: generation,
            sharesMemory: configuration.sharesMemory, tracksWrites: configuration.tracksWrites && !configuration.sharesMemory,
            serialOutput: serial, debugExit: configuration.debugExit, devices: devices)
        let keeper = try DeviceKeeper(
            planner.kept, CrashSettings(policy: configuration.onCrash, maxRestarts: configuration.maxRestarts))
        let resources = VMResources(
            serial: serial, terminal: terminal, helpers: planner.helpers, lateHelpers: planner.lateHelpers, keeper: keeper,
            paths: planner.made)
        return Plan(machine: machine, resources: resources)
    }

    /// The entry of a device.
    private func deviceDocument(_ index: Int) -> JSONValue {
        guard case .object(let members) = document, case .array(let devices)? = members["devices"], devices.indices.contains(index) else {
            return [:]
        }
        return devices[index]
    }

    private func planOrigin() throws(VMError) -> MachineOrigin {
        switch origin {
        case .kernel:
            let kernel = try openConfigured(configuration.kernel, "boot.kernel", flags: O_RDONLY, expected: "a readable kernel")
            var initrd: OwnedDescriptor?
            if let path = configuration.initrd {
                initrd = try openConfigured(path, "boot.initrd", flags: O_RDONLY, expected: "a readable initial RAM disk")
            }
            let entropy = try VMError.host("read entropy") { () throws(SystemError) in try randomBytes(32) }
            return .boot(BootPlan(kernel: kernel, initrd: initrd, commandLine: configuration.commandLine, entropy: entropy))
        case .snapshot(let snapshot, let state, let request):
            let memory = try snapshot.memory(of: configuration, isPopulated: request.prefault)
            return .restore(RestorePlan(identity: snapshot.digest, memory: memory, state: state, clockPolicy: request.clock))
        }
    }

    /// Whether the terminal's input belongs to one of the VM's streams.
    private var usesTerminal: Bool {
        configuration.resolvedSerial == .stdio
            || configuration.devices.contains {
                guard case .console(let console) = $0.kind else { return false }
                return console.backend == .character(.stdio)
            }
    }

    /// More than the host has is refused before anything is made.
    private func checkHost() throws(VMError) {
        let processors = HostFacts.processorCount
        guard configuration.cpuCount <= processors else {
            throw VMError(
                .configuration, "cpus.count: expected at most \(processors), the host's processors, found \(configuration.cpuCount).")
        }
        if let memory = HostFacts.memorySize, configuration.memorySize > memory {
            throw VMError(
                .configuration,
                "memory.size: expected at most \(memory >> 20)M, the host's memory, found \(configuration.memorySize >> 20)M.")
        }
    }

    /// Names the file or JSON path that a part of the plan came from.
    func explain(_ error: MachineStartError) -> VMError {
        switch error.part {
        case .kernel: VMError(.resource, "\(file): boot.kernel: \(configuration.kernel): \(error)")
        case .initrd: VMError(.resource, "\(file): boot.initrd: \(configuration.initrd ?? ""): \(error)")
        case .commandLine: VMError(.configuration, "\(file): boot.commandLine: \(error)")
        case .cpuMask: VMError(.configuration, "\(file): cpus.mask: \(error)")
        case .cpuCount: VMError(.configuration, "\(file): cpus.count: \(error)")
        case .memory: VMError(.configuration, "\(file): memory.size: \(error)")
        case .device(let id):
            VMError(
                .configuration,
                "\(file): devices[\(configuration.devices.firstIndex { $0.id == id } ?? 0)]: \(error)")
        case .state: explainState(error)
        case .host: VMError(.host, error.description)
        }
    }

    /// A saved state that cannot be taken over: because of what the host lacks, or because of what is in it.
    private func explainState(_ error: MachineStartError) -> VMError {
        guard case .snapshot(let snapshot, _, _) = origin else { return VMError(.failure, error.description) }
        let file = "\(snapshot.path)/\(SnapshotFiles.state): "
        return VMError(.resource, error.description.hasPrefix(file) ? error.description : file + error.description)
    }
}
