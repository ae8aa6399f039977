public import Schema

/// What `vm.json` says about a shared directory (virtio-fs), which a back-end such as virtiofsd serves.
public struct FileSystemSettings: Sendable, Equatable {
    /// The name under which the guest mounts it (at most 36 bytes).
    public let tag: String
    /// The vhost-user socket of the back-end, absolute.
    public let socket: String
    /// The number of request queues.
    public let queues: Int
    /// Entries per queue.
    public let queueSize: UInt16

    /// Bytes of the field `tag` in configuration space (virtio 1.3, 5.11.4).
    public static let tagSize = 36

    /// Reads the fields.
    public init(_ reader: ObjectReader) throws(ConfigError) {
        tag = try reader.string("tag", rule: .name, doc: "The name under which the guest mounts it (mount -t virtiofs TAG DIR).")
        guard tag.utf8.count <= Self.tagSize else { throw reader.error("tag", "expected at most \(Self.tagSize) bytes.") }
        let backend = try reader.optionalTagged(
            "backend", default: nil, doc: "Who serves the directory; this is needed.", [.vhostUser])
        reader.declareExactlyOne(of: ["backend"])
        guard let path = backend?.vhostUserPath ?? (reader.isDescribing ? "/" : nil) else {
            throw reader.error("backend", "is missing: {\"vhostUser\": a path}, the socket of a back-end such as virtiofsd.")
        }
        socket = path
        queues = Int(try reader.integer("queues", in: 1...16, default: 1, doc: "Number of request queues."))
        queueSize = try reader.queueSize(default: 256)
    }

    /// Configuration space: the tag, and the number of request queues (virtio 1.3, 5.11.4).
    public var configurationSpace: [UInt8] {
        let name = Array(tag.utf8)
        let count = (0..<4).map { UInt8(truncatingIfNeeded: queues >> (8 * $0)) }
        return name + Array(repeating: 0, count: max(Self.tagSize - name.count, 0)) + count
    }
}
