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
        Self(try reader.optionalTagged("backend", default: fallback, doc: doc, forms))
    }

    fileprivate static let doc = "Where input comes from and output goes."
    fileprivate static let forms = [
        TaggedForm("stdio", doc: "The terminal or pipe that swvmm was started on."),
        TaggedForm("pty", doc: "A pseudo-terminal, whose path is printed at the start."),
        TaggedForm("null", doc: "Output is dropped; there is no input."),
        TaggedForm("file", .path, doc: "Output is appended to this file."),
        TaggedForm("socket", .path, doc: "A Unix socket to connect to; output is kept for a client that comes late."),
    ]

    fileprivate init?(_ tagged: TaggedValue?) {
        switch (tagged?.name, tagged?.text) {
        case ("stdio", _): self = .stdio
        case ("pty", _): self = .pty
        case ("file", let path?): self = .file(path)
        case ("socket", let path?): self = .socket(path)
        case ("null", _): self = .null
        default: return nil
        }
    }
}

/// What `vm.json` says about a console device.
public struct ConsoleSettings: Sendable, Equatable {
    /// Where the device is.
    public enum Backend: Sendable, Equatable {
        /// Here, with the host's side of its stream.
        case character(CharacterBackendSettings)
        /// Behind a vhost-user socket.
        case vhostUser(String)
    }
    /// Where input comes from and output goes.
    public let backend: Backend

    /// Reads the fields.
    public init(_ reader: ObjectReader) throws(ConfigError) {
        let tagged = try reader.optionalTagged(
            "backend", default: "stdio", doc: CharacterBackendSettings.doc, CharacterBackendSettings.forms + [.vhostUser])
        backend = tagged?.vhostUserPath.map { .vhostUser($0) } ?? .character(CharacterBackendSettings(tagged) ?? .stdio)
    }
}
