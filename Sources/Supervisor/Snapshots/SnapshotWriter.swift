import CLinux
import Host
import Schema
import Snapshot
import Synchronization

/// Writes a snapshot's directory beside its final name, and gives it that name when every byte has reached the storage: whoever looks
/// finds no snapshot or a whole one, whenever this process is killed.
///
/// What a killed process leaves has a name that begins with a dot; the next snapshot to the same place removes it.
struct SnapshotWriter: ~Copyable {
    /// Where the snapshot will stand, absolute.
    let path: String
    /// The file for RAM, empty and locked: the lock says that somebody is still at it.
    let memory: OwnedDescriptor
    /// The file for the text of the state, empty.
    let state: OwnedDescriptor
    private let temporary: String
    private var isFinished = false

    private static let infix = ".partial-"

    /// Makes the directory. The place must be free, and what lies around it there and writable.
    static func begin(at path: String) throws(VMError) -> SnapshotWriter {
        let path = AbsolutePath.of(path)
        guard !pathExists(path) else { throw VMError(.resource, "\(path): expected a place where nothing is yet; it exists.") }
        let parent = SnapshotFiles.parent(of: path)
        let prefix = ".\(SnapshotFiles.name(of: path))\(Self.infix)"
        removeLeftovers(in: parent, prefix: prefix)
        let temporary: String
        do throws(SystemError) {
            temporary = "\(parent)/\(prefix)\(hexString(try randomBytes(8)))"
            try makePrivateDirectory(temporary)
        } catch {
            throw explain(error, path)
        }
        do throws(SystemError) {
            let memory = try OwnedDescriptor.open(
                "\(temporary)/\(SnapshotFiles.memory)", flags: O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
            _ = try memory.lockFile(exclusive: true)
            let state = try OwnedDescriptor.open(
                "\(temporary)/\(SnapshotFiles.state)", flags: O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
            return SnapshotWriter(path: path, memory: memory, state: state, temporary: temporary)
        } catch {
            remove(temporary)
            throw explain(error, path)
        }
    }

    private init(path: String, memory: consuming OwnedDescriptor, state: consuming OwnedDescriptor, temporary: String) {
        self.path = path
        self.memory = memory
        self.state = state
        self.temporary = temporary
    }

    /// Writes the other documents, has everything reach the storage, and gives the directory its name. RAM and state must have been written.
    /// Returns the digest of the manifest.
    consuming func finish(configuration: JSONValue, manifest: (Manifest.File, Manifest.File) -> Manifest) throws(VMError) -> String {
        do throws(SystemError) {
            let configuration = try write(configuration, SnapshotFiles.configuration)
            try self.state.synchronize()
            // As it is in the file: whoever wrote it may be in another process.
            try self.state.rewind()
            let text = try self.state.readWhole(limit: SnapshotFiles.maximumDocument)
            let state = Manifest.File(size: UInt64(text.count), sha256: SHA256.text(of: text))
            let digest = try write(manifest(configuration, state).json, SnapshotFiles.manifest)
            try memory.synchronize()
            try synchronizeDirectory(temporary)
            try renameExclusively(temporary, to: path)
            isFinished = true
            // The snapshot has its name; that the name may not survive a power cut is no reason to say that there is none.
            try? synchronizeDirectory(SnapshotFiles.parent(of: path))
            return digest.sha256 ?? ""
        } catch {
            throw Self.explain(error, path)
        }
    }

    private func write(_ document: JSONValue, _ name: String) throws(SystemError) -> Manifest.File {
        let bytes = Array(JSONText.encode(document).utf8)
        let file = try OwnedDescriptor.open(
            "\(temporary)/\(name)", flags: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
        try file.writeAll(bytes)
        try file.synchronize()
        return Manifest.File(size: UInt64(bytes.count), sha256: SHA256.text(of: bytes))
    }

    deinit { if !isFinished { Self.remove(temporary) } }

    /// A failure to write, for a person.
    static func explain(_ error: SystemError, _ path: String) -> VMError {
        VMError(.resource, "\(path): the snapshot cannot be written (\(error)); nothing was kept.")
    }

    private static func remove(_ directory: String) {
        for name in SnapshotFiles.all { removeFile("\(directory)/\(name)") }
        removeEmptyDirectory(directory)
    }

    /// Removes what killed processes have left: directories whose memory file nobody has locked.
    private static func removeLeftovers(in parent: String, prefix: String) {
        guard let names = try? PrivateDirectories.names(in: parent) else { return }
        for name in names where name.hasPrefix(prefix) {
            let directory = "\(parent)/\(name)"
            if let memory = try? OwnedDescriptor.open("\(directory)/\(SnapshotFiles.memory)", flags: O_RDWR | O_NOFOLLOW) {
                guard (try? memory.lockFile(exclusive: true)) == true else { continue }
            }
            remove(directory)
        }
    }
}
