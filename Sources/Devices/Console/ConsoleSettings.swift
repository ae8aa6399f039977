public import Schema

/// Where the host side of a character stream is: of a virtio console, and of the serial port.
public enum CharacterBackendSettings: Sendable, Equatable {
    /// The terminal (or pipe) that swvmm was started on; at most one stream has it.
    case stdio
    /// A pseudo-terminal, whose path is printed.
    case pty
    /// A file that output is appended to.
    case file(String)
    /// A Unix socket that clients connect to, one at a time.
    case socket(String)
    /// Nowhere.
    case null

    /// Reads the field `backend`.
    public static func read(_ reader: ObjectReader, default fallback: String?) throws(ConfigError) -> CharacterBackendSettings? {
        let tagged = try reader.optionalTagged(
            "backend", default: fallback, doc: "Where input comes from and output goes.",
            [
                TaggedForm("stdio", doc: "The terminal or pipe that swvmm was started on."),
                TaggedForm("pty", doc: "A pseudo-terminal, whose path is printed at the start."),
                TaggedForm("null", doc: "Output is dropped; there is no input."),
                TaggedForm("file", .path, doc: "Output is appended to this file."),
                TaggedForm("socket", .path, doc: "A Unix socket to connect to; output is kept for a client that comes late."),
            ])
        switch (tagged?.name, tagged?.text) {
        case ("stdio", _): return .stdio
        case ("pty", _): return .pty
        case ("file", let path?): return .file(path)
        case ("socket", let path?): return .socket(path)
        case ("null", _): return .null
        default: return nil
        }
    }
}

/// What `vm.json` says about a console device.
public struct ConsoleSettings: Sendable, Equatable {
    /// Where input comes from and output goes.
    public let backend: CharacterBackendSettings

    /// Reads the fields.
    public init(_ reader: ObjectReader) throws(ConfigError) {
        backend = try CharacterBackendSettings.read(reader, default: "stdio") ?? .stdio
    }
}
