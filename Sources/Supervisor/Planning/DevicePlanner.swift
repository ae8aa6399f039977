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

    init(vmName: String) { self.vmName = vmName }

    /// The device; `key` is the JSON path of its settings.
    mutating func make(_ settings: DeviceSettings, key: String, terminal: TerminalStream?) throws(VMError) -> any VirtioDevice {
        let remote = RemotePlanner(vmName: vmName, id: settings.id, key: key, packedRing: settings.packedRing)
        if let path = settings.vhostUserPath, let profile = remote.profile(settings) { return try remote.make(profile, at: path) }
        var descriptors = try open(settings, key: key, terminal: terminal)
        let device: any VirtioDevice
        do { device = try DeviceAssembly(vmName: vmName).make(settings, &descriptors) } catch {
            throw VMError(.resource, "\(key): \(error)")
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

    private static func notice(_ sentence: String) { Logger(label: "swvmm").notice("\(sentence)") }
}
