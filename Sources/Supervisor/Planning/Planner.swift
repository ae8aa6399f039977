import CLinux
import Devices
import GuestMemory
import Host
import Schema
import Snapshot
import VirtualMachine

/// Resolves a configuration into a plan: opens every path that it names, makes taps and starts helpers, and hands over typed values and
/// open descriptors. The only place where paths are opened.
struct Planner {
    /// What the guest starts from.
    enum Origin: Sendable {
        /// The kernel that the configuration names.
        case kernel
        /// A snapshot, whose state this process reads, or else that of the machine.
        case snapshot(SavedSnapshot, PendingState?, RestoreRequest)

        /// The state that this process reads.
        var state: PendingState? { if case .snapshot(_, let state, _) = self { state } else { nil } }
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

    /// What a machine is made of, and what the supervisor keeps for it.
    struct Plan: ~Copyable {
        let brief: MachineBrief
        var descriptors: PassedDescriptors
        let resources: VMResources
    }

    /// Refuses more than the host has, before anything is made; /dev/kvm, open.
    func checkHost() throws(VMError) -> OwnedDescriptor {
        do throws(VMError) {
            try checkSize()
            return try openKVM()
        } catch {
            throw explain(error)
        }
    }

    /// Opens everything. `kvm` is from `checkHost`.
    func plan(kvm: consuming OwnedDescriptor, asleep: Bool) throws(VMError) -> Plan {
        do throws(VMError) { return try makePlan(kvm, asleep: asleep) } catch { throw explain(error) }
    }

    /// An error of planning, as it is shown.
    private func explain(_ error: VMError) -> VMError {
        do throws(VMError) {
            // A snapshot that is damaged says so before anything that it names is found wanting.
            if case .snapshot(let snapshot, let state, _) = origin {
                do throws(MachineStartError) { _ = try state?.value() } catch { throw error.ofState(in: snapshot.path) }
                try snapshot.checkState()
            }
            return error.inConfiguration(file)
        } catch {
            return error
        }
    }

    private func makePlan(_ kvm: consuming OwnedDescriptor, asleep: Bool) throws(VMError) -> Plan {
        var descriptors = PassedDescriptors()
        descriptors.append(kvm)
        let origin = try planOrigin(&descriptors)
        let terminal = try TerminalStream(needed: usesTerminal)
        let crash = CrashSettings(policy: configuration.onCrash, maxRestarts: configuration.maxRestarts)
        var planner = DevicePlanner(vmName: configuration.name, policies: configuration.policyFiles, crash: crash, log: log)
        do throws(VMError) {
            return try makePlan(&planner, origin, descriptors, terminal: terminal, crash, asleep: asleep)
        } catch {
            planner.clearAway()
            throw error
        }
    }

    /// Opens what devices need, which `planner` remembers.
    private func makePlan(
        _ planner: inout DevicePlanner, _ origin: MachineBrief.Origin, _ opened: consuming PassedDescriptors, terminal: TerminalStream?,
        _ crash: CrashSettings, asleep: Bool
    ) throws(VMError) -> Plan {
        var descriptors = opened
        var counts: [Int] = []
        for (index, settings) in configuration.devices.enumerated() {
            let own = try planner.prepare(
                settings, document: deviceDocument(index), key: "devices[\(index)]", isolation: configuration.isolation, terminal: terminal)
            counts.append(own.count)
            descriptors.append(contentsOf: own)
        }
        descriptors.append(contentsOf: try planner.openSerial(configuration.resolvedSerial, terminal: terminal))
        let generation = try VMError.host("read entropy") { () throws(SystemError) in try randomBytes(16) }
        let keeper = try DeviceKeeper(planner.kept, peers: planner.peers, crash)
        let resources = VMResources(
            terminal: terminal, helpers: planner.helpers, lateHelpers: planner.lateHelpers, keeper: keeper, sockets: planner.made)
        let brief = MachineBrief(
            configuration: configuration, document: document, file: file, origin: origin, startsAsleep: asleep, generation: generation,
            deviceDescriptors: counts)
        return Plan(brief: brief, descriptors: descriptors, resources: resources)
    }

    /// The entry of a device.
    private func deviceDocument(_ index: Int) -> JSONValue {
        guard case .object(let members) = document, case .array(let devices)? = members["devices"], devices.indices.contains(index) else {
            return [:]
        }
        return devices[index]
    }

    private func planOrigin(_ descriptors: inout PassedDescriptors) throws(VMError) -> MachineBrief.Origin {
        switch origin {
        case .kernel:
            descriptors.append(
                try openConfigured(configuration.kernel, "boot.kernel", flags: O_RDONLY, expected: "a readable kernel"))
            if let path = configuration.initrd {
                descriptors.append(
                    try openConfigured(path, "boot.initrd", flags: O_RDONLY, expected: "a readable initial RAM disk"))
            }
            let entropy = try VMError.host("read entropy") { () throws(SystemError) in try randomBytes(32) }
            return .kernel(hasInitrd: configuration.initrd != nil, entropy: entropy)
        case .snapshot(let snapshot, let state, let request):
            try snapshot.checkMemory(of: configuration)
            // What a guest may have written is read by its machine, unless that is in this process anyway.
            if state == nil { descriptors.append(try snapshot.openState()) }
            for layer in snapshot.layers {
                descriptors.append(
                    try VMError.host("pass a file of RAM on") { () throws(SystemError) in try layer.file.duplicate() })
            }
            return .snapshot(
                SnapshotBrief(
                    path: snapshot.path, identity: snapshot.digest, layers: snapshot.layers.map { $0.extents },
                    state: state == nil ? snapshot.stateFile : nil, isPopulated: request.prefault, clockPolicy: request.clock))
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

    private func checkSize() throws(VMError) {
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
}
