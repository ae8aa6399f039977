import CLinux
import GuestMemory
import Host
public import Schema
public import Snapshot
import VirtualMachine

/// What can be done with snapshots without running them.
public enum SnapshotTools {
    /// What a snapshot is, at a glance.
    public static func inspect(_ path: String, base: String? = nil) throws(VMError) -> JSONValue {
        let snapshot = try SavedSnapshot(path: path, base: base)
        let manifest = snapshot.manifest
        let state = try snapshot.readState()
        var devices: [String: JSONValue] = [:]
        if case .object(let members) = state, case .object(let states)? = members["devices"] {
            for (id, state) in states { devices[id] = summary(of: state) }
        }
        let chain = snapshot.layerDigests.dropLast().map { JSONValue.string($0.path) }
        return [
            "path": .string(snapshot.path), "manifest": .string(snapshot.digest), "id": .string(manifest.id),
            "name": .string(manifest.name), "createdAt": .string(manifest.createdAt), "producer": .string(manifest.producer),
            "version": .integer(Manifest.currentVersion), "architecture": .string(Manifest.architecture),
            "cpu": ["vendor": .string(manifest.cpuVendor), "fingerprint": .string(manifest.cpuFingerprint)],
            "cpus": .integer(Int64(cpuCount(state))),
            "memory": [
                "size": .integer(Int64(clamping: manifest.memorySize)), "kind": manifest.base == nil ? "full" : "diff",
                "bytes": .integer(Int64(clamping: manifest.extents.reduce(0) { $0 + $1.byteCount })),
                "extents": .integer(Int64(manifest.extents.count)),
                "sha256": manifest.memory.sha256.map { .string($0) } ?? .null,
            ],
            "bases": .array(Array(chain)), "devices": .object(devices),
        ]
    }

    private static func cpuCount(_ state: JSONValue) -> Int {
        guard case .object(let members) = state, case .array(let cpus)? = members["cpus"] else { return 0 }
        return cpus.count
    }

    private static func summary(of state: JSONValue) -> JSONValue {
        guard case .object(let members) = state else { return .null }
        var result: [String: JSONValue] = [:]
        if case .object(let lifecycle)? = members["lifecycle"] { result["phase"] = lifecycle["phase"] }
        if case .object(let transport)? = members["transport"] { result["transport"] = transport["kind"] }
        if case .array(let queues)? = members["queues"] { result["queues"] = .integer(Int64(queues.count)) }
        return .object(result)
    }

    /// What changed from one snapshot to another: places in the documents, and the number of pages of RAM that differ.
    public struct Comparison: Sendable {
        /// The places, each with the document's name in front.
        public let differences: [JSONDifference]
        /// Pages of RAM with other bytes; nil when the two have RAM of different sizes.
        public let pages: Int?
    }

    /// Compares two snapshots.
    public static func compare(_ first: String, _ second: String) throws(VMError) -> Comparison {
        let old = try SavedSnapshot(path: first)
        let new = try SavedSnapshot(path: second)
        let differences =
            JSONDifference.between(old.configuration, new.configuration, path: "config")
            + JSONDifference.between(try old.readState(), try new.readState(), path: "state")
        guard old.manifest.memorySize == new.manifest.memorySize else { return Comparison(differences: differences, pages: nil) }
        let pages = try VMError.host("compare RAM") { () throws(SystemError) in
            try GuestMemory(ranges: [0..<old.manifest.memorySize], layers: old.layers).pagesDiffering(
                from: try GuestMemory(ranges: [0..<new.manifest.memorySize], layers: new.layers))
        }
        return Comparison(differences: differences, pages: pages)
    }

    /// Checks all that can be checked of a snapshot and of those below it. Returns a sentence that says how much that was.
    public static func verify(_ path: String, base: String? = nil) throws(VMError) -> String {
        let snapshot = try SavedSnapshot(path: path, base: base)
        for base in snapshot.bases { try check(base) }
        try check(snapshot)
        let count = try snapshot.verifyMemory()
        let memory =
            count == snapshot.layers.count
            ? "RAM is what its digest says"
            : "\(snapshot.layers.count - count) of \(snapshot.layers.count) files of RAM were not checked, because no digest was written of them ('swvmm snapshot --digest' does)"
        return "\(snapshot.path): manifest, configuration and state are whole; \(memory)."
    }

    /// Reads every field as a restore does, with devices that stand in for those of the configuration.
    private static func check(_ snapshot: SavedSnapshot) throws(VMError) {
        let manifest = snapshot.manifest
        let file = try ConfigFile(document: snapshot.configuration, path: "\(snapshot.path)/\(SnapshotFiles.configuration)")
        let document = try snapshot.readState()
        try snapshot.checkMemory(of: file.configuration)
        let memory = try file.configuration.memory(of: snapshot.layers, path: snapshot.path)
        let state = try snapshot.machineState(document)
        if let contradiction = state.contradiction(cpuCount: file.configuration.cpuCount) {
            throw VMError(.resource, "\(snapshot.path)/\(SnapshotFiles.state): \(contradiction)")
        }
        func expect(_ place: String, _ expected: String, found: String) throws(VMError) {
            guard found != expected else { return }
            throw VMError(
                .resource,
                "\(snapshot.path)/\(SnapshotFiles.manifest): \(place): expected \"\(expected)\", as the state has it, found \"\(found)\".")
        }
        try expect("cpu.vendor", state.cpuVendor, found: manifest.cpuVendor)
        let fingerprint = SHA256.text(of: Array(state.cpuDescription.utf8))
        try expect("cpu.fingerprint", fingerprint, found: manifest.cpuFingerprint)
        let devices = try StandInPlanner(configuration: file.configuration, state: document).plan()
        do {
            try VirtualMachine.check(
                state, memory: memory, devices: devices, debugExit: file.configuration.debugExit)
        } catch {
            guard error.part == .state else { throw VMError(.failure, "\(snapshot.path): cannot be checked: \(error)") }
            throw VMError(.resource, "\(snapshot.path)/\(SnapshotFiles.state): \(error)")
        }
    }

    /// Writes a snapshot of changes, with all below it, as one that lies on none.
    public static func flatten(_ source: String, to target: String, base: String? = nil) throws(VMError) -> String {
        let snapshot = try SavedSnapshot(path: source, base: base)
        let state = try snapshot.readState()
        let writer = try SnapshotWriter.begin(at: target)
        let image: MemoryImage
        do {
            image = try MemoryWriter.flatten(
                snapshot.layers, pageCount: snapshot.manifest.pageCount, to: writer.memory, digest: snapshot.manifest.memory.sha256 != nil)
        } catch {
            throw SnapshotWriter.explain(error, writer.path)
        }
        do { try writer.state.writeAll(Array(JSONText.encode(state).utf8)) } catch { throw SnapshotWriter.explain(error, writer.path) }
        let path = writer.path
        _ = try writer.finish(configuration: snapshot.configuration) { configurationFile, stateFile in
            var manifest = snapshot.manifest
            manifest.base = nil
            manifest.extents = image.extents
            manifest.configuration = configurationFile
            manifest.state = stateFile
            manifest.memory = Manifest.File(size: manifest.memorySize, sha256: image.digest.map { hexString($0) })
            return manifest
        }
        return path
    }
}
