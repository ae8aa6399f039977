public import Schema
public import Virtio

/// One entry of `devices` in `vm.json`.
public struct DeviceSettings: Sendable, Equatable {
    /// What the kind of device needs.
    public enum Kind: Sendable, Equatable {
        /// A disk.
        case block(BlockSettings)
        /// A network interface.
        case network(NetworkSettings)
        /// A source of entropy.
        case entropy(EntropySettings)
        /// A console.
        case console(ConsoleSettings)
        /// A shared directory.
        case fileSystem(FileSystemSettings)
    }
    /// The device's name, unique within the VM; state and messages name it.
    public let id: String
    /// How the device is shown to the guest; nil: as the VM's `transport` says.
    public let transport: TransportKind?
    /// Whether packed rings are offered (VIRTIO_F_RING_PACKED).
    public let packedRing: Bool
    /// The kind and its settings.
    public let kind: Kind

    /// Every kind of device that there is: the one table from which the configuration, its schema and its help follow.
    private static var kinds: [ObjectReader.Variant<Kind>] {
        [
            .init("block", doc: "A disk (virtio 1.3, 5.2).") { (reader) throws(ConfigError) in .block(try BlockSettings(reader)) },
            .init("net", doc: "A network interface (virtio 1.3, 5.1).") { (reader) throws(ConfigError) in
                .network(try NetworkSettings(reader))
            },
            .init("rng", doc: "A source of entropy (virtio 1.3, 5.4).") { (reader) throws(ConfigError) in
                .entropy(try EntropySettings(reader))
            },
            .init("console", doc: "A console, hvc0 in Linux (virtio 1.3, 5.3).") { (reader) throws(ConfigError) in
                .console(try ConsoleSettings(reader))
            },
            .init("fs", doc: "A shared directory, served by a vhost-user back-end (virtio 1.3, 5.11).") { (reader) throws(ConfigError) in
                .fileSystem(try FileSystemSettings(reader))
            },
        ]
    }

    /// Reads the fields.
    public init(_ reader: ObjectReader) throws(ConfigError) {
        id = try reader.string("id", rule: .name, doc: "The device's name, unique within the VM.")
        transport = try reader.optionalChoice("transport", of: TransportKind.self, doc: "How the guest sees the device.")
        packedRing = try reader.bool("packedRing", default: false, doc: "Offer packed rings (VIRTIO_F_RING_PACKED).")
        kind = try reader.variant("type", doc: "The kind of device.", Self.kinds)
    }
}
