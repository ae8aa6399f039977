import Devices
import Host
import Logging
import Schema
import Virtio

/// Opens what the settings of devices name, and remembers what is to be cleared away in the end.
struct DevicePlanner {
    /// The VM's name, of which MAC addresses are derived.
    let vmName: String
    /// Processes that serve the devices.
    private(set) var helpers: [PasstProcess] = []
    /// Sockets that are removed with the devices.
    private(set) var made: [NamedSocket] = []
    /// Devices in processes of their own.
    private(set) var kept: [KeptDevice] = []
    /// Devices behind back-ends of others.
    private(set) var peers: [ForeignBackEnd] = []
    private let crash: CrashSettings
    private let log: LogSettings
    private let policies: PolicyFiles

    init(vmName: String, policies: PolicyFiles = PolicyFiles(directory: nil), crash: CrashSettings = .none, log: LogSettings) {
        self.vmName = vmName
        self.crash = crash
        self.policies = policies
        self.log = log
    }

    /// Opens what a device needs, and starts its process if it is to have one: what the machine gets of it. `document` is the device's entry
    /// in the configuration.
    mutating func prepare(
        _ settings: DeviceSettings, document: JSONValue, key: String, isolation: Isolation, terminal: TerminalStream?
    ) throws(VMError) -> PassedDescriptors {
        var passed = PassedDescriptors()
        if let path = settings.vhostUserPath {
            let socket: OwnedDescriptor
            do { socket = try UnixSocket.connectWithoutWaiting(to: path) } catch {
                throw VMError(
                    .resource, "\(key).backend: \(path): \(error.errno); expected a vhost-user back-end that takes connections.")
            }
            peers.append(try ForeignBackEnd(id: settings.id, path: path, socket: socket, crash))
            passed.append(socket)
            return passed
        }
        if let path = settings.vhostVdpaPath {
            passed.append(try openVdpa(path, key: "\(key).backend"))
            return passed
        }
        let descriptors = try open(settings, key: key, terminal: terminal)
        guard isolation == .process else { return descriptors }
        let brief = DeviceBrief(
            document, vmName: vmName, hasUserNamespace: !HostFacts.isRoot, isOwn: true, log: log,
            policy: try policies.text(for: settings.kind.policyName))
        let device = KeptDevice(id: settings.id, brief: brief, descriptors: descriptors, reopen: reopening(settings, key: key))
        passed.append(try device.start())
        kept.append(device)
        return passed
    }

    /// How to open anew what a network device's process leaves in the middle of a frame when it ends.
    private func reopening(_ settings: DeviceSettings, key: String) -> (@Sendable () throws(VMError) -> Slot<PassedDescriptors>)? {
        guard case .network(let network) = settings.kind else { return nil }
        switch network.backend {
        case .tap, .descriptor, .vhostUser, .vhostVdpa: return nil
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

    /// Ends and removes what was made for devices that there will not be, or not any more.
    func clearAway() {
        for socket in made { socket.remove() }
        for helper in helpers { helper.stop() }
        lateHelpers.stop()
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
                var sockets: [NamedSocket] = []
                let planner = CharacterPlanner(key: "\(key).backend", id: settings.id, notice: Self.notice) { sockets.append($0) }
                defer { made += sockets }
                return try planner.open(character, terminal: terminal)
            }
        case .entropy, .fileSystem: break
        }
        return PassedDescriptors()
    }

    /// What the host's side of the serial port needs.
    mutating func openSerial(_ settings: CharacterBackendSettings, terminal: TerminalStream?) throws(VMError) -> PassedDescriptors {
        var sockets: [NamedSocket] = []
        let planner = CharacterPlanner(key: "serial.backend", id: "serial", notice: Self.notice) { sockets.append($0) }
        defer { made += sockets }
        return try planner.open(settings, terminal: terminal)
    }

    @Sendable private static func notice(_ sentence: String) { Logger(label: "swvmm").notice("\(sentence)") }
}
