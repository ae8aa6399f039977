import Devices
import Host
import Schema
import Snapshot
import VhostUser
import VirtualMachine
import Virtio

/// Makes the devices of a configuration for a check of their saved states: to a driver they are those that were saved, but nothing stands
/// behind them. No path is opened.
struct StandInPlanner {
    let configuration: VMConfiguration
    /// The whole saved state of the machine.
    let state: JSONValue

    /// The devices, in the order of the configuration.
    func plan() throws(VMError) -> [DevicePlan] {
        var plans: [DevicePlan] = []
        for (index, settings) in configuration.devices.enumerated() {
            let device = try make(settings, key: "devices[\(index)]")
            plans.append(DevicePlan(id: settings.id, transport: settings.transport ?? configuration.transport, device: device))
        }
        return plans
    }

    private func make(_ settings: DeviceSettings, key: String) throws(VMError) -> any VirtioDevice {
        let profiles = FrontendProfiles(vmName: configuration.name, id: settings.id, packedRing: settings.packedRing)
        if let profile = profiles.absentVdpaProfile(settings) { return AbsentBackEnd(profile) }
        do {
            if let profile = profiles.profile(settings) {
                let absent = AbsentBackEnd(profile)
                guard case .network(let network) = settings.kind else { return absent }
                let device = network.configuration(vmName: configuration.name, id: settings.id, packedRing: settings.packedRing)
                return try NetworkDevice(device, beside: absent, queuePairs: network.queuePairs) { _, _ in }
            }
            switch settings.kind {
            case .block(let block):
                let image = try makeMemoryFile(name: settings.id, size: capacity(of: settings.id, block))
                var configuration = block.configuration(image: image, id: settings.id, packedRing: settings.packedRing)
                // No request will come, so a host without io_uring can check what another one has saved.
                configuration.engine = .sync
                return try BlockDevice(configuration)
            case .network(let network):
                var device = network.configuration(vmName: configuration.name, id: settings.id, packedRing: settings.packedRing)
                switch network.backend {
                case .tap, .descriptor, .vhostUser, .vhostVdpa: break
                case .user, .stream: device.offloads = false
                }
                return try NetworkDevice(device, nowhereWith: network.queuePairs)
            case .entropy(let entropy):
                var device = EntropyConfiguration(label: settings.id)
                device.bytesPerSecond = entropy.bytesPerSecond
                device.packedRing = settings.packedRing
                return try EntropyDevice(device)
            case .console:
                return try ConsoleDevice(ConsoleConfiguration(label: settings.id, packedRing: settings.packedRing), backend: .null)
            case .fileSystem: throw VMError(.failure, "\(key): no back-end.")
            }
        } catch let error as VMError {
            throw error
        } catch {
            throw VMError(.resource, "\(key): \(error)")
        }
    }

    /// The size that a disk had, in bytes. Where the state does not name one that a disk can have, one block: the disk itself finds fault
    /// with the state then, and names the place.
    private func capacity(of id: String, _ settings: BlockSettings) -> UInt64 {
        let block = UInt64(settings.blockSize)
        let place = JSONPath([.key("devices"), .key(id), .key("device"), .key("capacity")])
        guard let value = state.value(at: place), let size = try? SavedValue(value).hex(upTo: UInt64(Int64.max)), size > 0,
            size % block == 0
        else { return block }
        return size
    }
}

extension JSONValue {
    /// What stands at a path of members; nil when nothing does.
    fileprivate func value(at path: JSONPath) -> JSONValue? {
        var value = self
        for step in path.steps {
            guard case .key(let key) = step, case .object(let members) = value, let member = members[key] else { return nil }
            value = member
        }
        return value
    }
}
