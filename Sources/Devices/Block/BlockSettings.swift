public import Schema

/// What `vm.json` says about a block device.
public struct BlockSettings: Sendable, Equatable {
    /// How requests reach the image.
    public enum Engine: String, Sendable, CaseIterable {
        /// A system call for what need not wait, io_uring for the rest where the host has it.
        case auto
        /// io_uring; an error where the host has none.
        case uring
        /// One system call per request.
        case sync
    }
    /// Where the disk is.
    public enum Source: Sendable, Equatable {
        /// An image file or block device, absolute.
        case image(String)
        /// Behind a vhost-user socket, absolute; then the back-end decides what the disk is like.
        case vhostUser(String)
        /// A vDPA device of the host's kernel, absolute; then that decides what the disk is like.
        case vhostVdpa(String)
    }
    /// Where the disk is.
    public let source: Source
    /// Whether the guest may only read.
    public let readOnly: Bool
    /// Whether the host's page cache is bypassed (O_DIRECT).
    public let direct: Bool
    /// What VIRTIO_BLK_T_GET_ID answers; the device's id by default.
    public let serial: String?
    /// The number of queues.
    public let queues: Int
    /// Entries per queue.
    public let queueSize: UInt16
    /// The logical block size that the guest sees, in bytes: 512 or 4096.
    public let blockSize: Int
    /// How requests reach the image.
    public let engine: Engine
    /// For how long a queue's thread looks for requests before it sleeps, at most, in microseconds: 0…1000.
    public let pollMicroseconds: Int

    /// Bytes of a disk's configuration space (virtio 1.3, 5.2.4).
    public static let configurationSpaceSize = BlockConfigurationSpace.size

    /// Reads the fields.
    public init(_ reader: ObjectReader) throws(ConfigError) {
        let path = try reader.optionalPath("path", doc: "The disk image (raw) or block device; without it, `backend` is needed.")
        let remote = try reader.optionalTagged(
            "backend", default: nil, doc: "Where the disk is, if it is no image here.", [.vhostUser, .vhostVdpa])
        reader.declareExactlyOne(of: ["path", "backend"])
        let foreign = remote?.vhostUserPath.map { Source.vhostUser($0) } ?? remote?.vhostVdpaPath.map { .vhostVdpa($0) }
        switch (path, foreign) {
        case (let path?, nil): source = .image(path)
        case (nil, let foreign?): source = foreign
        case (_?, _?): throw reader.error("backend", "a disk is an image or has a back-end, not both.")
        case (nil, nil):
            guard reader.isDescribing else { throw reader.error("path", "is missing: The disk image (raw) or block device.") }
            source = .image("/")
        }
        readOnly = try reader.bool("readOnly", default: false, doc: "Refuse writes; several VMs may share a read-only image.")
        direct = try reader.bool("direct", default: false, doc: "Bypass the host's page cache (O_DIRECT).")
        serial = try reader.optionalString("serial", rule: .serial, doc: "The disk's serial; by default the device's id.")
        queues = Int(try reader.integer("queues", in: 1...16, default: 1, doc: "Number of queues (VIRTIO_BLK_F_MQ above 1)."))
        queueSize = try reader.queueSize(default: 256)
        blockSize = Int(try reader.integer("blockSize", oneOf: [512, 4096], default: 512, doc: "Logical block size in bytes."))
        engine = try reader.choice("engine", default: Engine.auto, doc: "How requests reach the image.")
        pollMicroseconds = Int(
            try reader.integer(
                "pollMicroseconds", in: 0...1000, default: 0,
                doc: "How long a queue's thread looks for requests before it sleeps, at most; it adapts. 0: it sleeps at once."))
        if foreign != nil {
            let others = [
                ("readOnly", readOnly), ("direct", direct), ("serial", serial != nil), ("blockSize", blockSize != 512),
                ("engine", engine != .auto), ("pollMicroseconds", pollMicroseconds != 0),
            ]
            for (key, isSaid) in others where isSaid { throw reader.error(key, "that is the back-end's to decide.") }
        }
    }
}

extension ObjectReader {
    /// The size of a device's queues: a power of two, because split rings need one (virtio 1.3, 2.7).
    func queueSize(default fallback: Int64) throws(ConfigError) -> UInt16 {
        let sizes: [Int64] = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
        let size = try integer("queueSize", oneOf: sizes, default: fallback, doc: "Entries per queue.")
        return UInt16(truncatingIfNeeded: size)
    }
}
