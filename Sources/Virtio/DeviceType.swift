/// The kind of a virtio device (virtio 1.3, section 5, "Device Types").
public struct DeviceType: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    /// The device ID that transports announce.
    public let rawValue: UInt16
    /// Wraps a device ID.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// Network device (5.1).
    public static let network = DeviceType(rawValue: 1)
    /// Block device (5.2).
    public static let block = DeviceType(rawValue: 2)
    /// Console device (5.3).
    public static let console = DeviceType(rawValue: 3)
    /// Entropy device (5.4).
    public static let entropy = DeviceType(rawValue: 4)
    /// File system device (5.11).
    public static let fileSystem = DeviceType(rawValue: 26)

    /// What configurations call it; for a device without a name there, its ID.
    public var description: String {
        switch self {
        case .network: "net"
        case .block: "block"
        case .console: "console"
        case .entropy: "rng"
        case .fileSystem: "fs"
        default: "virtio-\(rawValue)"
        }
    }
}
