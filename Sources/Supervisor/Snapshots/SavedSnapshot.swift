import CLinux
import GuestMemory
import Host
import Schema
import Snapshot
import VirtualMachine

/// A snapshot that was opened: manifest and configuration checked and decoded, the files of RAM of it and of all below it open. The saved
/// state is by far the largest document, and reading it is left to `readState`, which a thread of its own may call.
struct SavedSnapshot: Sendable {
    /// The directory, absolute.
    let path: String
    let manifest: Manifest
    /// SHA-256 of the manifest's text: the snapshot's identity.
    let digest: String
    let configuration: JSONValue
    /// The state, if it had to be read already.
    private let migratedState: JSONValue?
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
        if version == migration.current {
            manifest = try Self.reading(path, SnapshotFiles.manifest) { () throws(StateError) in try Manifest(SavedValue(manifestText)) }
            configuration = configurationText
            migratedState = nil
        } else {
            let (stateBytes, stateText) = try Self.document(path, SnapshotFiles.state)
            let documents = Migration.Documents(manifest: manifestText, configuration: configurationText, state: stateText)
            let migrated = try Self.reading(path, SnapshotFiles.manifest) { () throws(StateError) in
                try migration.migrate(documents, from: version)
            }
            manifest = try Self.reading(path, SnapshotFiles.manifest) { () throws(StateError) in
                try Manifest(SavedValue(migrated.manifest))
            }
            configuration = migrated.configuration
            migratedState = migrated.state
            try Self.check(stateBytes, manifest.state, path, SnapshotFiles.state)
        }
        try Self.check(configurationBytes, manifest.configuration, path, SnapshotFiles.configuration)
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
        // Nobody may ever read it, but a snapshot that has lost a part is none.
        if below.migratedState == nil {
            try Self.check(try Self.contents(place, SnapshotFiles.state), below.manifest.state, place, SnapshotFiles.state)
        }
        return below
    }

    /// The saved state: read, checked against its digest and parsed at each call.
    func readState() throws(VMError) -> JSONValue {
        if let migratedState { return migratedState }
        let (bytes, document) = try Self.document(path, SnapshotFiles.state)
        try Self.check(bytes, manifest.state, path, SnapshotFiles.state)
        return document
    }

    /// Checks the state against its digest, without a look at what is in it.
    func checkState() throws(VMError) {
        // A migrated one was read already.
        if migratedState == nil {
            try Self.check(try Self.contents(path, SnapshotFiles.state), manifest.state, path, SnapshotFiles.state)
        }
    }

    /// The state's size and digest as whoever reads `openState` has to find them.
    var stateFile: Manifest.File {
        guard let migratedState else { return manifest.state }
        let bytes = Array(JSONText.encode(migratedState).utf8)
        return Manifest.File(size: UInt64(bytes.count), sha256: SHA256.text(of: bytes))
    }

    /// A file with the text of the state, for another process to read.
    func openState() throws(VMError) -> OwnedDescriptor {
        let file = "\(path)/\(SnapshotFiles.state)"
        do throws(SystemError) {
            guard let migratedState else { return try OwnedDescriptor.open(file, flags: O_RDONLY | O_NONBLOCK) }
            let copy = try makeMemoryFile(name: "state", size: 0)
            try copy.writeAll(Array(JSONText.encode(migratedState).utf8))
            try copy.rewind()
            return copy
        } catch {
            throw Self.unreadable(file, error)
        }
    }

    /// Reads and parses the state that `openState` has opened, of the snapshot at `path`.
    static func readState(
        _ file: borrowing OwnedDescriptor, expected: Manifest.File, path: String
    ) throws(VMError) -> MachineState {
        let bytes = try contents(of: file, "\(path)/\(SnapshotFiles.state)")
        try check(bytes, expected, path, SnapshotFiles.state)
        let document: JSONValue
        do { document = try JSONText.decode(bytes) } catch { throw VMError(.resource, "\(path)/\(SnapshotFiles.state): \(error)") }
        return try reading(path, SnapshotFiles.state) { () throws(StateError) in try MachineState(SavedValue(document)) }
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
        let bytes = try contents(path, name)
        do { return (bytes, try JSONText.decode(bytes)) } catch { throw VMError(.resource, "\(path)/\(name): \(error)") }
    }

    private static func contents(_ path: String, _ name: String) throws(VMError) -> [UInt8] {
        let file = "\(path)/\(name)"
        let descriptor: OwnedDescriptor
        do { descriptor = try OwnedDescriptor.open(file, flags: O_RDONLY | O_NONBLOCK) } catch { throw unreadable(file, error) }
        return try contents(of: descriptor, file)
    }

    private static func contents(of descriptor: borrowing OwnedDescriptor, _ file: String) throws(VMError) -> [UInt8] {
        do throws(SystemError) {
            guard try descriptor.status().kind == .regular else { throw SystemError("open", .invalidArgument) }
            return try descriptor.readWhole(limit: SnapshotFiles.maximumDocument)
        } catch {
            throw unreadable(file, error)
        }
    }

    private static func unreadable(_ file: String, _ error: SystemError) -> VMError {
        VMError(.resource, "\(file): cannot be read (\(error.errno)); expected a part of a snapshot.")
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
