import Devices
import Vhost
import VhostUser
import Virtio

/// What front-ends must know of the devices of a configuration.
struct FrontendProfiles {
    /// The VM's name, of which MAC addresses are derived.
    let vmName: String
    let id: String
    let packedRing: Bool

    /// The profile of a device that is behind vhost-user; nil for one of ours.
    func profile(_ settings: DeviceSettings) -> FrontendProfile? {
        guard settings.vhostUserPath != nil else { return nil }
        return anyProfile(settings)
    }

    /// The profile of a device of ours in a process of its own: the driver sees what it would see without.
    func ownProfile(_ settings: DeviceSettings) -> FrontendProfile? {
        guard !settings.isForeign else { return nil }
        var profile: FrontendProfile
        switch settings.kind {
        case .block(let block):
            profile = self.profile(block)
            profile.isStateless = false
        case .network(let network):
            // Control queue, address and MTU are with the front-end, which is a network device itself; only the link's state is asked for.
            profile = self.profile(.network, queues: 2 * network.queuePairs, size: network.queueSize)
            profile.configurationSize = 12
        case .entropy:
            profile = self.profile(.entropy, queues: 1, size: EntropyDevice.queueSize)
        case .console:
            profile = self.profile(.console, queues: 2, size: ConsoleDevice.queueSize)
            profile.configurationSize = 4
        case .fileSystem: return nil
        }
        return profile
    }

    /// What a vDPA device must be to be the device of the settings; nil for another one.
    func vdpaProfile(_ settings: DeviceSettings) -> VdpaProfile? {
        guard settings.vhostVdpaPath != nil else { return nil }
        var profile: VdpaProfile
        switch settings.kind {
        case .block(let block):
            profile = VdpaProfile(.block, label: id, queueCount: block.queues, queueSize: block.queueSize, drains: true)
            // What the driver writes to configuration space would be a state.
            profile.withheld = [.blockConfigWCE]
            if block.queues == 1 { profile.withheld.insert(.blockMultiQueue) }
        case .network(let network):
            profile = VdpaProfile(.network, label: id, queueCount: 2, queueSize: network.queueSize, drains: false)
            profile.withheld = .netControl
        case .entropy, .console, .fileSystem: return nil
        }
        if !packedRing { profile.withheld.insert(.ringPacked) }
        return profile
    }

    /// What is known of a vDPA device that is not there; nil for another one.
    func absentVdpaProfile(_ settings: DeviceSettings) -> FrontendProfile? {
        guard let vdpa = vdpaProfile(settings) else { return nil }
        var profile = FrontendProfile(vdpa.deviceType, label: id, queueCount: vdpa.queueCount ?? 1, queueSize: vdpa.queueSize)
        profile.withheld = vdpa.withheld
        profile.isStateless = true
        return profile
    }

    private func anyProfile(_ settings: DeviceSettings) -> FrontendProfile {
        switch settings.kind {
        case .block(let block): profile(block)
        case .network(let network): profile(network)
        case .entropy: entropyProfile()
        case .console: consoleProfile()
        case .fileSystem(let files): profile(files)
        }
    }

    private func profile(_ type: DeviceType, queues: Int, size: UInt16) -> FrontendProfile {
        var profile = FrontendProfile(type, label: id, queueCount: queues, queueSize: size)
        if !packedRing { profile.withheld.insert(.ringPacked) }
        return profile
    }

    /// A disk; the back-end has its configuration space.
    func profile(_ settings: BlockSettings) -> FrontendProfile {
        var profile = profile(.block, queues: settings.queues, size: settings.queueSize)
        profile.configurationSize = BlockSettings.configurationSpaceSize
        profile.isStateless = true
        profile.continuity = .whenIdle
        if settings.queues == 1 { profile.withheld.insert(.blockMultiQueue) }
        return profile
    }

    /// The data queues of a network interface. All else is with a device of ours beside it, as every back-end expects.
    func profile(_ settings: NetworkSettings) -> FrontendProfile {
        var profile = profile(.network, queues: 2 * settings.queuePairs, size: settings.queueSize)
        profile.withheld.formUnion(.netControl.union(.netFrontEnd))
        // Back-ends that have it may want to know.
        if settings.queuePairs > 1 { profile.withheld.remove(.netMultiQueue) }
        if !settings.offloads { profile.withheld.formUnion(.netGuestOffloads.union(.netHostOffloads)) }
        profile.isStateless = true
        return profile
    }

    /// A source of entropy.
    func entropyProfile() -> FrontendProfile {
        var profile = profile(.entropy, queues: 1, size: 256)
        profile.isStateless = true
        return profile
    }

    /// A console; its size, if it has one, is the back-end's to say.
    func consoleProfile() -> FrontendProfile {
        var profile = profile(.console, queues: 2, size: 256)
        // One port, and no emergency write: configuration space has the size alone.
        profile.withheld.formUnion([Features(bit: 1), Features(bit: 2)])
        profile.configurationSize = 4
        return profile
    }

    /// A shared directory: the front-end knows its name.
    func profile(_ settings: FileSystemSettings) -> FrontendProfile {
        var profile = profile(.fileSystem, queues: 1 + settings.queues, size: settings.queueSize)
        // No notification queue (VIRTIO_FS_F_NOTIFICATION).
        profile.withheld.insert(Features(bit: 0))
        profile.configuration = settings.configurationSpace
        profile.continuity = .none
        return profile
    }
}
