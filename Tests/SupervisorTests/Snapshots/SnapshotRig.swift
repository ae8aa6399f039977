import Foundation
import GuestMemory
import Host
import Schema
import Snapshot
import TestSupport
import VirtualMachine

@testable import Supervisor

/// A directory with snapshots in it, which goes with its owner.
final class SnapshotRig {
    let path = "/tmp/swvmm-test-snapshots-\(getpid())-\(UInt32.random(in: 0 ... .max))"

    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false) }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    func place(_ name: String) -> String { "\(path)/\(name)" }

    /// The names in the directory, hidden ones as well.
    var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted() }

    /// The golden snapshot, whole.
    func golden(_ name: String) throws -> String {
        try Golden.copySnapshot(to: place(name))
        return place(name)
    }

    /// The golden documents with RAM in which some pages are filled with a byte: all of it, or only these pages on top of `base`.
    func write(
        _ name: String, pages: [Int: UInt8] = [:], base: SavedSnapshot? = nil, memorySize: UInt64 = Golden.snapshotMemory,
        digest: Bool = false, change: (inout Manifest) -> Void = { _ in }, state: (JSONValue) -> JSONValue = { $0 }
    ) throws -> String {
        let memory = try GuestMemory(ranges: [0..<memorySize])
        var written = PageSet(pageCount: memory.pageCount)
        for (page, byte) in pages {
            memory.write([UInt8](repeating: byte, count: 4096), at: UInt64(page) * 4096)
            written.insert(MemoryExtent(firstPage: page, pageCount: 1))
        }
        let state = state(try Golden.document("snapshot/state.json"))
        let configuration = try Golden.document("snapshot/config.json").replacing(
            JSONPath([.key("memory"), .key("size")]), with: .integer(Int64(memorySize)))
        let golden = try Manifest(SavedValue(Golden.document("snapshot/manifest.json")))
        let writer = try SnapshotWriter.begin(at: place(name))
        let images = MemoryWriter(memory, digest: digest)
        let image =
            base == nil
            ? try images.writeFull(to: writer.memory, pageTables: try OwnedDescriptor.pageTables())
            : try images.writeChanges(written, to: writer.memory)
        let path = path
        try writer.state.writeAll(Array(JSONText.encode(state).utf8))
        _ = try writer.finish(configuration: configuration) { configuration, state in
            var manifest = golden
            manifest.memorySize = memorySize
            manifest.extents = image.extents
            manifest.base = base.map { Manifest.Base(sha256: $0.digest, path: SnapshotFiles.relative($0.path, to: path)) }
            manifest.configuration = configuration
            manifest.state = state
            manifest.memory = Manifest.File(size: memorySize, sha256: image.digest.map { hexString($0) })
            change(&manifest)
            return manifest
        }
        return place(name)
    }

    /// Changes the manifest's text.
    func edit(_ file: String, _ old: String, _ new: String) throws {
        let text = try String(contentsOfFile: file, encoding: .utf8)
        try text.replacingOccurrences(of: old, with: new).write(toFile: file, atomically: false, encoding: .utf8)
    }
}
