public import Schema

/// What `vm.json` says about an entropy device.
public struct EntropySettings: Sendable, Equatable {
    /// The most bytes that the guest gets per second; nil is without limit.
    public let bytesPerSecond: UInt64?
    /// The vhost-user socket that the device is behind; nil: it is here.
    public let vhostUserPath: String?

    /// Reads the fields.
    public init(_ reader: ObjectReader) throws(ConfigError) {
        bytesPerSecond = try reader.optionalInteger(
            "bytesPerSecond", in: 1...1_000_000_000, doc: "The most bytes that the guest gets per second; no limit by default."
        ).map { UInt64(clamping: $0) }
        vhostUserPath = try reader.optionalTagged("backend", default: nil, doc: "Where the device is; by default here.", [.vhostUser])?
            .vhostUserPath
        if vhostUserPath != nil, bytesPerSecond != nil { throw reader.error("bytesPerSecond", "that is the back-end's to decide.") }
    }
}
