import Devices
import Host
import Logging
import Schema
import Virtio

/// Makes devices from their settings: opens what these name, and remembers what is to be cleared away in the end.
struct DevicePlanner {
    /// The VM's name, of which MAC addresses are derived.
    let vmName: String
    /// Processes that serve the devices.
    private(set) var helpers: [PasstProcess] = []
    /// Paths that are removed with the devices.
    private(set) var made: [String] = []
    /// Devices in processes of their own.
    private(set) var kept: [KeptDevice] = []
    private let log: LogSettings

    init(vmName: String, log: LogSettings) {
        self.vmName = vmName
        self.log = log
    }

    /// A device that has been opened, and perhaps a process that has been started for it.
    enum Prepared: ~Copyable {
        /// Here.
        case here(PassedDescriptors)
        /// In a process that is starting, at the other end of the socket.
        case process(KeptDevice, OwnedDescriptor)
        /// At a path.
        case elsewhere
    }

    /// Opens what a device needs, and starts its process if it is to have one. `document` is the device's entry in the configuration.
    mutating func prepare(
        _ settings: DeviceSettings, document: JSONValue, key: String, isolation: Isolation, terminal: TerminalStream?
    ) throws(VMError) -> Prepared {
        if settings.vhostUserPath != nil { return .elsewhere }
        let descriptors = try open(settings, key: key, terminal: terminal)
        guard isolation == .process else { return .here(descriptors) }
        let brief = DeviceBrief(document, vmName: vmName, hasUserNamespace: !HostFacts.isRoot, isOwn: true, log: log)
        let device = KeptDevice(id: settings.id, brief: brief, descriptors: descriptors, reopen: reopening(settings, key: key))
        let socket = try device.start()
        kept.append(device)
        return .process(device, socket)
    }

    /// How to open anew what a network device's process leaves in the middle of a frame when it ends.
    private func reopening(_ settings: DeviceSettings, key: String) -> (@Sendable () throws(VMError) -> Slot<PassedDescriptors>)? {
        guard case .network(let network) = settings.kind else { return nil }
        switch network.backend {
        case .tap, .descriptor, .vhostUser: return nil
        case .user, .stream:
            let planner = NetworkPlanner(id: settings.id, key: key, notice: Self.notice)
            let helpers = lateHelpers
            return { () throws(VMError) in
                let opened = try planner.open(network)
                if let helper = opened.helper { helpers.add(helper) }
                return opened.descriptors
            }
        }
    }

    /// Processes that come when others have ended.
    let lateHelpers = HelperList()

    /// The device that was prepared; `key` is the JSON path of its settings.
    func make(
        _ settings: DeviceSettings, _ prepared: consuming Prepared, key: String, terminal: TerminalStream?
    ) throws(VMError) -> any VirtioDevice {
        let remote = RemotePlanner(vmName: vmName, id: settings.id, key: key, packedRing: settings.packedRing)
        let device: any VirtioDevice
        switch consume prepared {
        case .elsewhere:
            guard let path = settings.vhostUserPath, let profile = remote.profile(settings) else {
                throw VMError(.failure, "\(key): is nowhere.")
            }
            return try remote.make(profile, at: path)
        case .here(let opened):
            var descriptors = opened
            do { device = try DeviceAssembly(vmName: vmName).make(settings, &descriptors) } catch {
                throw VMError(.resource, "\(key): \(error)")
            }
        case .process(let process, let socket):
            guard let profile = remote.ownProfile(settings) else { throw VMError(.failure, "\(key): has no process.") }
            let dataPath = try process.meet(socket, profile)
            if case .network(let network) = settings.kind {
                let configuration = network.configuration(vmName: vmName, id: settings.id, packedRing: settings.packedRing)
                do { device = try NetworkDevice(configuration, dataPath: dataPath, queuePairs: network.queuePairs) } catch {
                    throw VMError(.resource, "\(key): \(error)")
                }
            } else {
                device = dataPath
            }
        }
        if case .console(let console) = settings.kind, console.backend == .character(.stdio) {
            terminal?.onResize { [weak device] size in
                try? device?.controlNotify(["columns": .integer(Int64(size.columns)), "rows": .integer(Int64(size.rows))])
            }
        }
        return device
    }

    /// What a device of ours needs, in the order in which `DeviceAssembly` takes it.
    mutating func open(_ settings: DeviceSettings, key: String, terminal: TerminalStream?) throws(VMError) -> PassedDescriptors {
        switch settings.kind {
        case .block(let block):
            if case .image(let path) = block.source { return try openBlockDevice(block, image: path, key: key) }
        case .network(let network):
            let opened = try NetworkPlanner(id: settings.id, key: key, notice: Self.notice).open(network)
            if let helper = opened.helper { helpers.append(helper) }
            if let descriptors = opened.descriptors.take() { return descriptors }
        case .console(let console):
            if case .character(let character) = console.backend {
                var paths: [String] = []
                let planner = CharacterPlanner(key: "\(key).backend", id: settings.id, notice: Self.notice) { paths.append($0) }
                defer { made += paths }
                return try planner.open(character, terminal: terminal)
            }
        case .entropy, .fileSystem: break
        }
        return PassedDescriptors()
    }

    /// The host's side of the serial port.
    mutating func makeSerial(_ settings: CharacterBackendSettings, terminal: TerminalStream?) throws(VMError) -> SerialHost {
        var paths: [String] = []
        let planner = CharacterPlanner(key: "serial.backend", id: "serial", notice: Self.notice) { paths.append($0) }
        defer { made += paths }
        return SerialHost(try planner.make(settings, terminal: terminal))
    }

    @Sendable private static func notice(_ sentence: String) { Logger(label: "swvmm").notice("\(sentence)") }
}
