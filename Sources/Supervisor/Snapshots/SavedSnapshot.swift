import CLinux
import GuestMemory
import Host
import Schema
import Snapshot

/// A snapshot that was opened: its documents checked against their digests and decoded, the files of RAM of it and of all below it open.
struct SavedSnapshot: Sendable {
    /// The directory, absolute.
    let path: String
    let manifest: Manifest
    /// SHA-256 of the manifest's text: the snapshot's identity.
    let digest: String
    let configuration: JSONValue
    let state: JSONValue
    /// The snapshots that this one lies on, the lowest first.
    let bases: [SavedSnapshot]
    /// The files of RAM, the lowest first.
    let layers: [MemoryLayer]
    /// The digests of RAM in the same order; nil where none was written.
    let layerDigests: [(path: String, sha256: String?)]

    /// Opens a snapshot. `base` says where the one below it is, when it is not where it was.
    init(path: String, base: String? = nil, migration: Migration = .standard) throws(VMError) {
        try self.init(path: path, base: base, depth: 0, migration: migration)
    }

    private init(path: String, base: String?, depth: Int, migration: Migration) throws(VMError) {
        let path = AbsolutePath.of(path)
        self.path = path
        guard depth < SnapshotFiles.maximumChain else {
            throw VMError(.resource, "\(path): more than \(SnapshotFiles.maximumChain) snapshots lie on each other.")
        }
        guard pathExists(path) else { throw VMError(.resource, "\(path): expected the directory of a snapshot; there is nothing.") }
        let (manifestBytes, manifestText) = try Self.document(path, SnapshotFiles.manifest)
        let version = try Self.reading(path, SnapshotFiles.manifest) { () throws(StateError) in
            try Manifest.version(of: SavedValue(manifestText))
        }
        guard version <= migration.current else {
            throw VMError(
                .resource,
                "\(path): the snapshot has format version \(version); swvmm \(ProductVersion.string) reads versions up to \(migration.current)."
            )
        }
        let (configurationBytes, configurationText) = try Self.document(path, SnapshotFiles.configuration)
        let (stateBytes, stateText) = try Self.document(path, SnapshotFiles.state)
        let documents = try Self.reading(path, SnapshotFiles.manifest) { () throws(StateError) in
            try migration.migrate(
                Migration.Documents(manifest: manifestText, configuration: configurationText, state: stateText), from: version)
        }
        let manifest = try Self.reading(path, SnapshotFiles.manifest) { () throws(StateError) in
            try Manifest(SavedValue(documents.manifest))
        }
        try Self.check(configurationBytes, manifest.configuration, path, SnapshotFiles.configuration)
        try Self.check(stateBytes, manifest.state, path, SnapshotFiles.state)
        self.manifest = manifest
        configuration = documents.configuration
        state = documents.state
        digest = SHA256.text(of: manifestBytes)
        let layer = try Self.openMemory(path, manifest)
        guard let lower = manifest.base else {
            bases = []
            layers = [layer]
            layerDigests = [(path, manifest.memory.sha256)]
            return
        }
        let below = try Self.openBase(lower, of: path, override: base, depth: depth, migration: migration, memorySize: manifest.memorySize)
        bases = below.bases + [below]
        layers = below.layers + [layer]
        layerDigests = below.layerDigests + [(path, manifest.memory.sha256)]
    }

    private static func openBase(
        _ base: Manifest.Base, of path: String, override: String?, depth: Int, migration: Migration, memorySize: UInt64
    ) throws(VMError) -> SavedSnapshot {
        let place =
            override.map { AbsolutePath.of($0) }
            ?? normalizedPath(base.path.hasPrefix("/") ? base.path : "\(SnapshotFiles.parent(of: path))/\(base.path)")
        guard pathExists(place) else {
            throw VMError(
                .resource,
                "\(path): the snapshot lies on another one, which is not at \(place); '--base' tells where it is, and 'swvmm snapshot flatten' makes one that lies on none."
            )
        }
        let below = try SavedSnapshot(path: place, base: nil, depth: depth + 1, migration: migration)
        guard below.digest == base.sha256 else {
            throw VMError(
                .resource,
                "\(place): expected the snapshot that \(path) lies on (manifest \(base.sha256.prefix(12))…), found another one (\(below.digest.prefix(12))…)."
            )
        }
        guard below.manifest.memorySize == memorySize else {
            throw VMError(.resource, "\(place): expected \(memorySize) bytes of RAM, found \(below.manifest.memorySize).")
        }
        return below
    }

    private static func openMemory(_ path: String, _ manifest: Manifest) throws(VMError) -> MemoryLayer {
        let file = "\(path)/\(SnapshotFiles.memory)"
        do {
            // A named pipe would keep whoever opens it waiting.
            let descriptor = try OwnedDescriptor.open(file, flags: O_RDONLY | O_NONBLOCK)
            let status = try descriptor.status()
            guard status.kind == .regular, status.size == manifest.memory.size, status.size == manifest.memorySize else {
                throw VMError(.resource, "\(file): expected a file of \(manifest.memorySize) bytes, found \(status.size).")
            }
            return MemoryLayer(file: descriptor, extents: manifest.extents)
        } catch let error as VMError {
            throw error
        } catch {
            throw VMError(.resource, "\(file): cannot be opened (\(error)).")
        }
    }

    /// Compares the files of RAM with their digests, which reads all of them. Returns how many had one.
    func verifyMemory() throws(VMError) -> Int {
        var count = 0
        for (layer, expected) in zip(layers, layerDigests) {
            guard let wanted = expected.sha256 else { continue }
            let file = "\(expected.path)/\(SnapshotFiles.memory)"
            let found: [UInt8]
            do { found = try MemoryImage.digest(of: layer.file, layer.extents) } catch {
                throw VMError(.resource, "\(file): cannot be read (\(error)).")
            }
            guard hexString(found) == wanted else {
                throw VMError(.resource, "\(file): expected SHA-256 \(wanted), found \(hexString(found)).")
            }
            count += 1
        }
        return count
    }

    /// Reads and parses a document.
    private static func document(_ path: String, _ name: String) throws(VMError) -> ([UInt8], JSONValue) {
        let file = "\(path)/\(name)"
        let bytes: [UInt8]
        do throws(SystemError) {
            let descriptor = try OwnedDescriptor.open(file, flags: O_RDONLY | O_NONBLOCK)
            guard try descriptor.status().kind == .regular else { throw SystemError("open", .invalidArgument) }
            bytes = try descriptor.readWhole(limit: SnapshotFiles.maximumDocument)
        } catch {
            throw VMError(.resource, "\(file): cannot be read (\(error.errno)); expected a part of a snapshot.")
        }
        do { return (bytes, try JSONText.decode(bytes)) } catch { throw VMError(.resource, "\(file): \(error)") }
    }

    private static func check(_ bytes: [UInt8], _ expected: Manifest.File, _ path: String, _ name: String) throws(VMError) {
        guard UInt64(bytes.count) == expected.size, let wanted = expected.sha256 else {
            throw VMError(.resource, "\(path)/\(name): expected \(expected.size) bytes, found \(bytes.count).")
        }
        let found = SHA256.text(of: bytes)
        guard found == wanted else { throw VMError(.resource, "\(path)/\(name): expected SHA-256 \(wanted), found \(found).") }
    }

    /// Runs a reader of a document and names its file.
    static func reading<Value>(
        _ path: String, _ name: String, _ body: () throws(StateError) -> Value
    ) throws(VMError) -> Value {
        do { return try body() } catch { throw VMError(.resource, "\(path)/\(name): \(error)") }
    }
}
