import Devices
import GuestMemory
import Host
import Logging
import Machine
import Schema
import Snapshot
import Vhost
import VhostUser
import VirtualMachine
import Virtio

/// Puts a machine together from its brief and what has been opened for it: in the process that it is to live in.
struct MachineAssembly: ~Copyable, Sendable {
    private let brief: MachineBrief
    private let plan: MachinePlan
    private let serial: SerialHost
    private let terminalConsole: (any VirtioDevice)?
    /// The devices that are in other processes, by their ids.
    let frontends: [String: VhostUserFrontend]

    /// A device that kept a machine from being made, for those who know more about it.
    struct Failure: Error {
        let error: VMError
        var device: String?

        init(_ error: VMError, device: String? = nil) {
            self.error = error
            self.device = device
        }
    }

    /// Takes the descriptors in the order that the brief tells of. `state` is the saved state, for a machine that has one. `lost` is told of
    /// devices whose processes or back-ends cannot be talked to any more.
    static func make(
        _ brief: MachineBrief, _ descriptors: consuming PassedDescriptors, state: PendingState?,
        lost: @escaping @Sendable (LostBackEnd) -> Void
    ) throws(Failure) -> MachineAssembly {
        var descriptors = descriptors
        var parts = Parts(brief: brief, lost: lost)
        do throws(VMError) {
            let kvm = try Self.next(&descriptors)
            var origin: OpenedOrigin? = try parts.origin(&descriptors, state)
            var devices: [DevicePlan] = []
            for (settings, count) in zip(brief.configuration.devices, brief.deviceDescriptors) {
                var own = PassedDescriptors()
                for _ in 0..<count { own.append(try Self.next(&descriptors)) }
                devices.append(try parts.device(settings, own))
            }
            let serial = try parts.serial(&descriptors)
            guard let opened = origin.take() else { throw VMError(.failure, "The plan is empty.") }
            let configuration = brief.configuration
            let tracksWrites = configuration.tracksWrites && parts.canLogWrites
            let plan = MachinePlan(
                name: configuration.name, kvm: kvm, cpuCount: configuration.cpuCount, cpuMask: configuration.cpuMask,
                memorySize: configuration.memorySize, origin: try parts.origin(opened, tracksWrites: tracksWrites),
                startsAsleep: brief.startsAsleep, generation: brief.generation, sharesMemory: configuration.sharesMemory,
                tracksWrites: tracksWrites, serialOutput: serial, debugExit: configuration.debugExit, devices: devices)
            return MachineAssembly(
                brief: brief, plan: plan, serial: serial, terminalConsole: parts.terminalConsole, frontends: parts.frontends)
        } catch {
            throw Failure(brief.named(error), device: parts.failed)
        }
    }

    private init(
        brief: MachineBrief, plan: consuming MachinePlan, serial: SerialHost, terminalConsole: (any VirtioDevice)?,
        frontends: [String: VhostUserFrontend]
    ) {
        self.brief = brief
        self.plan = plan
        self.serial = serial
        self.terminalConsole = terminalConsole
        self.frontends = frontends
    }

    /// Starts the machine; once.
    consuming func start(
        pageTables: consuming OwnedDescriptor, progress: (@Sendable () -> Void)? = nil
    ) throws(VMError) -> LocalMachine {
        let (brief, serial, terminalConsole) = (brief, serial, terminalConsole)
        let machine: VirtualMachine
        do { machine = try VirtualMachine.start(plan) } catch { throw brief.explain(error) }
        return LocalMachine(
            machine, serial: serial, pageTables: pageTables, terminalConsole: terminalConsole, progress: progress)
    }

    fileprivate static func next(_ descriptors: inout PassedDescriptors) throws(VMError) -> OwnedDescriptor {
        do { return try descriptors.next() } catch { throw VMError(.failure, "The machine lacks a descriptor.") }
    }
}

/// What a guest starts from, before it is known what its RAM has to be like.
private enum OpenedOrigin: ~Copyable {
    case boot(BootPlan)
    case snapshot(SnapshotBrief, [MemoryLayer], PendingState)
}

/// What a machine is put together from, piece by piece.
private struct Parts {
    let brief: MachineBrief
    let lost: @Sendable (LostBackEnd) -> Void
    var frontends: [String: VhostUserFrontend] = [:]
    var terminalConsole: (any VirtioDevice)?
    /// The device that could not be reached.
    var failed: String?
    /// Whether every device tells what it writes to RAM.
    var canLogWrites = true

    init(brief: MachineBrief, lost: @escaping @Sendable (LostBackEnd) -> Void) {
        self.brief = brief
        self.lost = lost
    }

    func origin(_ descriptors: inout PassedDescriptors, _ given: PendingState?) throws(VMError) -> OpenedOrigin {
        switch brief.origin {
        case .kernel(let hasInitrd, let entropy):
            let kernel = try MachineAssembly.next(&descriptors)
            var initrd: OwnedDescriptor?
            if hasInitrd { initrd = try MachineAssembly.next(&descriptors) }
            return .boot(
                BootPlan(kernel: kernel, initrd: initrd, commandLine: brief.configuration.commandLine, entropy: entropy))
        case .snapshot(let snapshot):
            var state = given
            if let expected = snapshot.state {
                let file = Slot(try MachineAssembly.next(&descriptors))
                state = try VMError.host("start a thread") { () throws(SystemError) in
                    try PendingState(file: file, expected: expected, path: snapshot.path)
                }
            }
            var layers: [MemoryLayer] = []
            for extents in snapshot.layers {
                layers.append(MemoryLayer(file: try MachineAssembly.next(&descriptors), extents: extents))
            }
            guard let state else { throw VMError(.failure, "A restored machine has no state.") }
            return .snapshot(snapshot, layers, state)
        }
    }

    /// What the guest starts from, with RAM where there is some already.
    func origin(_ opened: consuming OpenedOrigin, tracksWrites: Bool) throws(VMError) -> MachineOrigin {
        switch consume opened {
        case .boot(let boot): return .boot(boot)
        case .snapshot(let snapshot, let layers, let state):
            let memory = try brief.configuration.memory(
                of: layers, path: snapshot.path, tracksWrites: tracksWrites, isPopulated: snapshot.isPopulated)
            return .restore(
                RestorePlan(identity: snapshot.identity, memory: memory, state: state, clockPolicy: snapshot.clockPolicy))
        }
    }

    mutating func device(_ settings: DeviceSettings, _ own: consuming PassedDescriptors) throws(VMError) -> DevicePlan {
        let configuration = brief.configuration
        let index = configuration.devices.firstIndex { $0.id == settings.id } ?? 0
        let key = "devices[\(index)]"
        let device: any VirtioDevice
        if settings.vhostUserPath != nil {
            device = try foreign(settings, try MachineAssembly.next(&own), key: key)
        } else if let path = settings.vhostVdpaPath {
            device = try kernelDevice(settings, path, try MachineAssembly.next(&own), key: key)
        } else if configuration.isolation == .process {
            device = try process(settings, try MachineAssembly.next(&own), key: key)
        } else {
            var descriptors = own
            do { device = try DeviceAssembly(vmName: configuration.name).make(settings, &descriptors) } catch {
                throw VMError(.resource, "\(key): \(error)")
            }
        }
        if case .console(let console) = settings.kind, console.backend == .character(.stdio) { terminalConsole = device }
        return DevicePlan(id: settings.id, transport: settings.transport ?? configuration.transport, device: device)
    }

    /// A device at the other end of a connection to somebody's back-end.
    private mutating func foreign(
        _ settings: DeviceSettings, _ socket: consuming OwnedDescriptor, key: String
    ) throws(VMError) -> any VirtioDevice {
        let path = settings.vhostUserPath ?? ""
        guard var profile = remote(settings).profile(settings) else { throw VMError(.failure, "\(key): is nowhere.") }
        if brief.configuration.onCrash == .restart { profile.recovery = KeptDevice.recovery }
        let logger = Logger(label: "swvmm.\(settings.id)")
        let id = settings.id
        let events = FrontendEvents.telling(lost, id, 0)
        do {
            let frontend = try VhostUserFrontend(socket, profile, events: events)
            frontends[id] = frontend
            if brief.configuration.tracksWrites, !frontend.canLogWrites {
                canLogWrites = false
                logger.warning(
                    "its vhost-user back-end at \(path) cannot log what it writes (VHOST_USER_PROTOCOL_F_LOG_SHMFD, VHOST_F_LOG_ALL); memory.trackWrites has no effect"
                )
            }
            guard case .network(let network) = settings.kind else { return frontend }
            return try NetworkDevice(
                network.configuration(vmName: brief.configuration.name, id: id, packedRing: settings.packedRing), beside: frontend,
                queuePairs: network.queuePairs
            ) { (queues, isEnabled) throws(DeviceError) in
                try frontend.enable(queues, isEnabled)
            }
        } catch {
            throw VMError(.resource, "\(key).backend: \(path): \(error)")
        }
    }

    /// A vDPA device of the host's kernel.
    private mutating func kernelDevice(
        _ settings: DeviceSettings, _ path: String, _ node: consuming OwnedDescriptor, key: String
    ) throws(VMError) -> any VirtioDevice {
        guard let profile = remote(settings).vdpaProfile(settings) else { throw VMError(.failure, "\(key): is nowhere.") }
        if brief.configuration.tracksWrites {
            canLogWrites = false
            Logger(label: "swvmm.\(settings.id)").warning(
                "vDPA devices of the kernel do not tell what they write; memory.trackWrites has no effect")
        }
        do throws(VdpaError) { return try VhostVdpaDevice(try VhostVdpa(node), profile) } catch {
            throw VMError(.resource, "\(key).backend: \(path): \(error)")
        }
    }

    /// A device in a process of its own.
    private mutating func process(
        _ settings: DeviceSettings, _ socket: consuming OwnedDescriptor, key: String
    ) throws(VMError) -> any VirtioDevice {
        guard var profile = remote(settings).ownProfile(settings) else { throw VMError(.failure, "\(key): has no process.") }
        profile.patience = KeptDevice.patience
        profile.recovery = KeptDevice.recovery
        let id = settings.id
        // It has ended, or it hangs: whatever it is, it shall not have the guest's RAM any more.
        let events = FrontendEvents.telling(lost, id, 0)
        let dataPath: VhostUserFrontend
        do { dataPath = try VhostUserFrontend(socket, profile, events: events) } catch {
            failed = id
            throw VMError(.host, "Device \"\(id)\" did not start: \(error)")
        }
        frontends[id] = dataPath
        // Always so, unless an older version of swvmm serves it.
        canLogWrites = canLogWrites && dataPath.canLogWrites
        guard case .network(let network) = settings.kind else { return dataPath }
        let configuration = network.configuration(vmName: brief.configuration.name, id: id, packedRing: settings.packedRing)
        do { return try NetworkDevice(configuration, dataPath: dataPath, queuePairs: network.queuePairs) } catch {
            throw VMError(.resource, "\(key): \(error)")
        }
    }

    private func remote(_ settings: DeviceSettings) -> FrontendProfiles {
        FrontendProfiles(vmName: brief.configuration.name, id: settings.id, packedRing: settings.packedRing)
    }

    func serial(_ descriptors: inout PassedDescriptors) throws(VMError) -> SerialHost {
        let backend: CharacterBackend
        do { backend = try brief.configuration.resolvedSerial.backend(&descriptors) } catch {
            throw VMError(.resource, "serial.backend: \(error).")
        }
        return SerialHost(backend)
    }
}
