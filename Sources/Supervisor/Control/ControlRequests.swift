public import Schema

/// The body of `POST /v1/vm/snapshot`.
public struct SnapshotRequest: Sendable, Equatable {
    /// What becomes of the VM after its snapshot.
    public enum Ending: String, Sendable, CaseIterable {
        /// It is asleep.
        case sleep
        /// It runs.
        case wake
        /// It ends.
        case stop
    }

    /// The directory that will hold the snapshot, absolute.
    public let directory: String
    /// The snapshot that this one builds upon, absolute; nil for a full one.
    public let base: String?
    /// What becomes of the VM; nil: what it was before.
    public let then: Ending?
    /// Whether a digest of the memory is made.
    public let digest: Bool

    /// A request.
    public init(directory: String, base: String? = nil, then: Ending? = nil, digest: Bool = false) {
        self.directory = directory
        self.base = base
        self.then = then
        self.digest = digest
    }

    /// Reads the document.
    public init(_ reader: ObjectReader) throws(ConfigError) {
        directory = try reader.string("directory", rule: .absolutePath, doc: "The directory that will hold the snapshot, absolute.")
        base = try reader.optionalString("base", rule: .absolutePath, doc: "The snapshot that this one builds upon, absolute.")
        then = try reader.optionalChoice("then", of: Ending.self, doc: "What becomes of the VM; absent: what it was before.")
        digest = try reader.bool("digest", default: false, doc: "Whether a digest of the memory is made.")
    }

    /// The same as a document.
    public var json: JSONValue {
        var members: [String: JSONValue] = ["directory": .string(directory), "digest": .bool(digest)]
        if let base { members["base"] = .string(base) }
        if let then { members["then"] = .string(then.rawValue) }
        return .object(members)
    }
}

/// The body of `POST /v1/vm/stop`.
struct StopRequest {
    let force: Bool

    init(_ reader: ObjectReader) throws(ConfigError) {
        force = try reader.bool("force", default: false, doc: "End the VM at once instead of by its power button.")
    }
}

/// The body of a command that takes none.
struct EmptyRequest {
    init(_ reader: ObjectReader) throws(ConfigError) {}
}

enum ControlBody {
    /// Decodes a request's body. An empty body is an empty object.
    static func decode<Value>(_ bytes: [UInt8], _ read: (ObjectReader) throws(ConfigError) -> Value) throws(ControlResponse.Refusal)
        -> Value
    {
        let document: JSONValue
        do {
            document = bytes.isEmpty ? .object([:]) : try JSONText.decode(bytes)
        } catch {
            throw .badRequest("The body cannot be read: \(error)")
        }
        do {
            return try ConfigDocument.decode(document, resolvePath: { $0 }, read).value
        } catch {
            throw .unprocessable("The body cannot be used: \(error)")
        }
    }
}
