import Devices
import Host
import Virtio

/// The devices that are served.
enum DeviceKind: UInt8, CaseIterable {
    case entropy, console, block

    /// The one that a byte names, whose highest bit means something else.
    static func of(_ byte: UInt8) -> DeviceKind { allCases[Int(byte & 0x7f) % allCases.count] }

    func make() throws -> any VirtioDevice {
        switch self {
        case .entropy:
            var configuration = EntropyConfiguration(label: "rng")
            configuration.packedRing = true
            return try EntropyDevice(configuration)
        case .console: return try ConsoleDevice(ConsoleConfiguration(label: "hvc", packedRing: true), backend: .null)
        case .block:
            var configuration = BlockConfiguration(image: try makeMemoryFile(name: "image", size: 16384), label: "disk")
            configuration.packedRing = true
            // Without io_uring a request is done when it is answered, and an input does the same everywhere.
            configuration.engine = .sync
            return try BlockDevice(configuration)
        }
    }
}
