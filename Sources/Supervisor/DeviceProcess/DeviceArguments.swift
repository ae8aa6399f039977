import Devices
public import Schema

/// The kinds of device, as the command line and `vm.json` name them.
public enum DeviceKind: String, Sendable, CaseIterable {
    /// A disk.
    case block
    /// A network interface.
    case net
    /// A source of entropy.
    case rng
    /// A console.
    case console

    /// What a management program learns from `--print-capabilities` (vhost-user, Back-end program conventions).
    public var capabilities: JSONValue {
        let features: [JSONValue] =
            switch self {
            case .block: ["blk-file", "read-only"]
            case .net, .rng, .console: []
            }
        return ["type": .string(rawValue), "features": .array(features)]
    }
}

/// A device as the command line describes it: the same keys as an entry of `devices` in `vm.json`, as `KEY=VALUE`.
public struct DeviceArguments: Sendable {
    /// The kind.
    public let kind: DeviceKind
    private var members: [String: JSONValue] = [:]

    /// A device of which nothing has been said yet.
    public init(_ kind: DeviceKind) { self.kind = kind }

    /// Takes one setting. A dot in the key leads into an object (`backend.file=…`); a value that is no JSON is a string.
    public mutating func set(_ argument: String) throws(VMError) {
        guard let equals = argument.firstIndex(of: "="), equals != argument.startIndex else {
            throw VMError(.usage, "\(argument): expected KEY=VALUE.")
        }
        let text = String(argument[argument.index(after: equals)...])
        let value = (try? JSONText.decode(Array(text.utf8))) ?? .string(text)
        try set(String(argument[..<equals]), value)
    }

    /// Takes one setting; what was said already may not be said again.
    public mutating func set(_ key: String, _ value: JSONValue) throws(VMError) {
        let path = key.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard !path.contains("") else { throw VMError(.usage, "\(key): expected the name of a setting.") }
        guard Self.insert(value, at: path[...], into: &members) else { throw VMError(.usage, "\(key): given more than once.") }
    }

    private static func insert(_ value: JSONValue, at path: ArraySlice<String>, into members: inout [String: JSONValue]) -> Bool {
        guard let key = path.first else { return false }
        if path.count == 1 {
            guard members[key] == nil else { return false }
            members[key] = value
            return true
        }
        var inner: [String: JSONValue] = [:]
        switch members[key] {
        case .object(let present): inner = present
        case nil: break
        default: return false
        }
        guard insert(value, at: path.dropFirst(), into: &inner) else { return false }
        members[key] = .object(inner)
        return true
    }

    /// The settings, checked by the rules of `vm.json`, and the document with all defaults.
    func settings() throws(VMError) -> (settings: DeviceSettings, document: JSONValue) {
        var document = members
        if let type = document["type"], type != .string(kind.rawValue) {
            throw VMError(.configuration, "type: expected \"\(kind.rawValue)\", found \(type.spoken).")
        }
        document["type"] = .string(kind.rawValue)
        if document["id"] == nil { document["id"] = .string(kind.rawValue) }
        let settings: DeviceSettings
        let resolved: JSONValue
        do {
            (settings, resolved) = try ConfigDocument.decode(.object(document), resolvePath: AbsolutePath.of, DeviceSettings.init)
        } catch {
            throw VMError(.configuration, error.description)
        }
        if settings.transport != nil { throw VMError(.configuration, "transport: that is the front-end's to choose.") }
        if settings.vhostUserPath != nil { throw VMError(.configuration, "backend.vhostUser: that is a front-end's; this is a back-end.") }
        if settings.vhostVdpaPath != nil { throw VMError(.configuration, "backend.vhostVdpa: the kernel serves that device already.") }
        if case .console(let console) = settings.kind, console.backend == .character(.stdio) {
            throw VMError(.configuration, "backend: expected \"pty\", \"null\", a file or a socket; a front-end's terminal is its own.")
        }
        return (settings, resolved)
    }
}
