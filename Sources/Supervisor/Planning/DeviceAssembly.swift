import Devices
import Host
import Virtio

/// Puts a device together from its settings and what has been opened for it: in the process that it is to live in.
struct DeviceAssembly {
    /// The VM's name, of which MAC addresses are derived.
    let vmName: String
    /// A descriptor that is to stay open for as long as I/O of the device is under way.
    var witness: Int32?

    init(vmName: String, witness: Int32? = nil) {
        self.vmName = vmName
        self.witness = witness
    }

    /// The device. Takes `descriptors` in the order in which `DevicePlanner.open` made them.
    func make(_ settings: DeviceSettings, _ descriptors: inout PassedDescriptors) throws(DeviceError) -> any VirtioDevice {
        do {
            return try assemble(settings, &descriptors)
        } catch let error as DeviceError {
            throw error
        } catch {
            throw DeviceError("\(settings.id) cannot be made (\(error)).")
        }
    }

    private func assemble(_ settings: DeviceSettings, _ descriptors: inout PassedDescriptors) throws -> any VirtioDevice {
        switch settings.kind {
        case .block(let block):
            var configuration = block.configuration(image: try descriptors.next(), id: settings.id, packedRing: settings.packedRing)
            configuration.directImage = descriptors.takeFirst()
            configuration.witness = witness
            return try BlockDevice(configuration)
        case .network(let network):
            let configuration = network.configuration(vmName: vmName, id: settings.id, packedRing: settings.packedRing)
            switch network.backend {
            case .user, .stream: return try NetworkDevice(configuration, stream: try descriptors.next())
            case .tap, .descriptor:
                var taps: [TapQueue] = []
                while let descriptor = descriptors.takeFirst() { taps.append(try TapQueue(adopting: descriptor)) }
                return try NetworkDevice(configuration, taps: taps)
            case .vhostUser, .vhostVdpa: throw DeviceError("\(settings.id) lives elsewhere.")
            }
        case .entropy(let entropy):
            var configuration = EntropyConfiguration(label: settings.id)
            configuration.bytesPerSecond = entropy.bytesPerSecond
            configuration.packedRing = settings.packedRing
            return try EntropyDevice(configuration)
        case .console(let console):
            guard case .character(let character) = console.backend else { throw DeviceError("\(settings.id) lives elsewhere.") }
            var backend: CharacterBackend? = try character.backend(&descriptors)
            guard let backend = backend.take() else { throw DeviceError("\(settings.id) has no back-end.") }
            return try ConsoleDevice(ConsoleConfiguration(label: settings.id, packedRing: settings.packedRing), backend: backend)
        case .fileSystem: throw DeviceError("\(settings.id) lives elsewhere.")
        }
    }
}
