public import GuestMemory
public import Host
public import Schema
import Virtqueue

/// `manifest.json`: what a snapshot is, and what its other files must be.
///
/// The digest of its text is the snapshot's identity: a snapshot of changes names the one below it by that.
public struct Manifest: Sendable, Equatable {
    /// The version of the format that this build writes, and the newest that it reads.
    public static let currentVersion: Int64 = 1
    /// What every manifest says of itself.
    public static let format = "swvmm-snapshot"
    /// The only architecture that there is.
    public static let architecture = "x86_64"
    /// The largest amount of RAM, in bytes, that a manifest may speak of.
    static let mostMemory: Int64 = 16 << 40

    /// A file beside the manifest.
    public struct File: Sendable, Equatable {
        /// Its size in bytes.
        public var size: UInt64
        /// SHA-256 of its bytes, in hexadecimal digits; for `memory` that of the extents' bytes in their order, and only if it was asked
        /// for.
        public var sha256: String?

        /// A file.
        public init(size: UInt64, sha256: String?) {
            self.size = size
            self.sha256 = sha256
        }
    }

    /// The snapshot below one of changes.
    public struct Base: Sendable, Equatable {
        /// SHA-256 of its `manifest.json`, in hexadecimal digits.
        public var sha256: String
        /// Where it was: a path relative to the directory that holds this snapshot's directory, or absolute.
        public var path: String

        /// A base.
        public init(sha256: String, path: String) {
            self.sha256 = sha256
            self.path = path
        }
    }

    /// Random, so that no two snapshots are the same: 32 hexadecimal digits.
    public var id: String
    /// When it was taken, RFC 3339.
    public var createdAt: String
    /// What wrote it, such as `swvmm 0.1.0`.
    public var producer: String
    /// The VM's name.
    public var name: String
    /// The maker of the processor that the guest has seen, such as `AuthenticAMD`.
    public var cpuVendor: String
    /// SHA-256 of what the guest was told of its first processor.
    public var cpuFingerprint: String
    /// RAM in bytes.
    public var memorySize: UInt64
    /// The pages that the file `memory` holds.
    public var extents: [MemoryExtent]
    /// The snapshot that this one lies on; nil for a whole one.
    public var base: Base?
    /// `config.json`.
    public var configuration: File
    /// `state.json`.
    public var state: File
    /// `memory`.
    public var memory: File

    /// Puts the parts together.
    public init(
        id: String, createdAt: String, producer: String, name: String, cpuVendor: String, cpuFingerprint: String, memorySize: UInt64,
        extents: [MemoryExtent], base: Base?, configuration: File, state: File, memory: File
    ) {
        self.id = id
        self.createdAt = createdAt
        self.producer = producer
        self.name = name
        self.cpuVendor = cpuVendor
        self.cpuFingerprint = cpuFingerprint
        self.memorySize = memorySize
        self.extents = extents
        self.base = base
        self.configuration = configuration
        self.state = state
        self.memory = memory
    }

    /// Pages of RAM.
    public var pageCount: Int { Int(clamping: memorySize / UInt64(MemoryExtent.pageSize)) }
}

extension Manifest {
    /// The document.
    public var json: JSONValue {
        [
            "format": .string(Self.format), "version": .integer(Self.currentVersion), "id": .string(id), "createdAt": .string(createdAt),
            "producer": .string(producer), "architecture": .string(Self.architecture), "name": .string(name),
            "cpu": ["vendor": .string(cpuVendor), "fingerprint": .string(cpuFingerprint)],
            "memory": ["size": .integer(Int64(clamping: memorySize)), "extents": MemoryExtent.json(extents)],
            "base": base.map { ["sha256": .string($0.sha256), "path": .string($0.path)] } ?? .null,
            "files": ["config.json": configuration.json, "state.json": state.json, "memory": memory.json],
        ]
    }

    /// The version of a document, before anything else of it is looked at.
    public static func version(of document: SavedValue) throws(StateError) -> Int64 {
        let members = try document.members()
        func member(_ name: String) throws(StateError) -> SavedValue {
            guard let found = members.first(where: { $0.key == name }) else {
                throw StateError(path: name, expectation: "to be there: this is no manifest of a snapshot")
            }
            return found.value
        }
        let format = try member("format")
        guard try format.string() == Self.format else { throw format.error(expected: "\"\(Self.format)\"") }
        return try member("version").integer(in: 1...Int64.max)
    }

    /// Reads a document of the current version.
    public init(_ document: SavedValue) throws(StateError) {
        self = try document.read { (fields) throws(StateError) in
            guard try fields.string("format") == Self.format else { throw fields.error("format", expected: "\"\(Self.format)\"") }
            _ = try fields.integer("version", in: Self.currentVersion...Self.currentVersion)
            let architecture = try fields.string("architecture")
            guard architecture == Self.architecture else {
                throw fields.error("architecture", expected: "\"\(Self.architecture)\", found \"\(architecture)\"")
            }
            let cpu = try fields.object("cpu") { (fields) throws(StateError) in
                (vendor: try fields["vendor"].words(), fingerprint: try fields["fingerprint"].digest())
            }
            let memory = try fields.object("memory") { (fields) throws(StateError) in
                let size = try fields.integer("size", in: Int64(MemoryExtent.pageSize)...Self.mostMemory)
                guard size % Int64(MemoryExtent.pageSize) == 0 else {
                    throw fields.error("size", expected: "a multiple of \(MemoryExtent.pageSize)")
                }
                let extents = fields["extents"]
                return (
                    size: UInt64(size),
                    extents: try MemoryExtent.read(extents, pageCount: Int(clamping: size / Int64(MemoryExtent.pageSize)))
                )
            }
            let files = try fields.object("files") { (fields) throws(StateError) in
                (
                    configuration: try File(fields["config.json"], needsDigest: true),
                    state: try File(fields["state.json"], needsDigest: true), memory: try File(fields["memory"], needsDigest: false)
                )
            }
            return Manifest(
                id: try fields["id"].digits(count: 32), createdAt: try fields["createdAt"].words(),
                producer: try fields["producer"].words(), name: try fields["name"].words(), cpuVendor: cpu.vendor,
                cpuFingerprint: cpu.fingerprint, memorySize: memory.size,
                extents: memory.extents,
                base: try fields.optional("base") { (value) throws(StateError) in
                    try value.read { (fields) throws(StateError) in
                        Base(sha256: try fields["sha256"].digest(), path: try fields["path"].words())
                    }
                }, configuration: files.configuration, state: files.state, memory: files.memory)
        }
    }
}

extension Manifest.File {
    var json: JSONValue { ["size": .integer(Int64(clamping: size)), "sha256": sha256.map { .string($0) } ?? .null] }

    init(_ saved: SavedValue, needsDigest: Bool) throws(StateError) {
        self = try saved.read { (fields) throws(StateError) in
            let size = try fields.integer("size", in: 0...Manifest.mostMemory)
            let value = fields["sha256"]
            let digest = needsDigest ? try value.digest() : try value.optional?.digest()
            return Manifest.File(size: UInt64(size), sha256: digest)
        }
    }
}

extension SavedValue {
    /// SHA-256 in hexadecimal digits.
    fileprivate func digest() throws(StateError) -> String { try digits(count: 2 * SHA256.byteCount) }

    /// Hexadecimal digits.
    fileprivate func digits(count: Int) throws(StateError) -> String {
        let text = try string()
        let isDigit: (UInt8) -> Bool = { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
        guard text.utf8.count == count, text.utf8.allSatisfy(isDigit) else {
            throw error(expected: "\(count) lower-case hexadecimal digits")
        }
        return text
    }

    /// A string with something in it.
    fileprivate func words() throws(StateError) -> String {
        let text = try string()
        guard !text.isEmpty else { throw error(expected: "a string that is not empty") }
        return text
    }
}

extension SHA256 {
    /// The digest of bytes, in hexadecimal digits.
    public static func text(of bytes: [UInt8]) -> String {
        var hash = SHA256()
        hash.update(bytes.span.untyped)
        return hexString(hash.finish())
    }
}
