import Foundation
import GuestMemory
import Host
import Schema
import Snapshot
import TestSupport
import Testing

@testable import Supervisor

@Suite("Saved snapshots") struct SavedSnapshotTests {
    let rig: SnapshotRig

    init() throws { rig = try SnapshotRig() }

    private func expect(_ sentence: String, _ path: String, base: String? = nil) {
        #expect(throws: VMError(.resource, sentence)) { _ = try SavedSnapshot(path: path, base: base).readState() }
    }

    @Test("A whole snapshot opens, also by a path with dots in it")
    func whole() throws {
        let path = try rig.golden("a")
        let snapshot = try SavedSnapshot(path: "\(rig.path)/x/../a/")
        #expect(snapshot.path == path && snapshot.bases.isEmpty && snapshot.layers.count == 1)
        #expect(snapshot.digest == SHA256.text(of: Array(try Golden.text("snapshot/manifest.json").utf8)))
        #expect(try snapshot.readState() == (try Golden.document("snapshot/state.json")))
    }

    @Test("Nothing, or a part missing")
    func missing() throws {
        expect("\(rig.path)/none: expected the directory of a snapshot; there is nothing.", rig.place("none"))
        for name in ["manifest.json", "config.json", "state.json"] {
            let path = try rig.golden(name)
            try FileManager.default.removeItem(atPath: "\(path)/\(name)")
            expect("\(path)/\(name): cannot be read (No such file or directory); expected a part of a snapshot.", path)
        }
        let path = try rig.golden("memory")
        try FileManager.default.removeItem(atPath: "\(path)/memory")
        expect("\(path)/memory: cannot be opened (open: No such file or directory).", path)
    }

    @Test("A file instead of a directory")
    func file() throws {
        let path = rig.place("file")
        try "text".write(toFile: path, atomically: false, encoding: .utf8)
        expect("\(path)/manifest.json: cannot be read (Not a directory); expected a part of a snapshot.", path)
    }

    @Test("A newer version, another architecture, another format")
    func versions() throws {
        let newer = try rig.golden("newer")
        try rig.edit("\(newer)/manifest.json", "\"version\": 1", "\"version\": 2")
        expect(
            "\(newer): the snapshot has format version 2; swvmm \(ProductVersion.string) reads versions up to 1.", newer)
        let other = try rig.golden("other")
        try rig.edit("\(other)/manifest.json", "x86_64", "aarch64")
        expect("\(other)/manifest.json: architecture: expected \"x86_64\", found \"aarch64\".", other)
        let foreign = try rig.golden("foreign")
        try rig.edit("\(foreign)/manifest.json", "swvmm-snapshot", "recipe")
        expect("\(foreign)/manifest.json: format: expected \"swvmm-snapshot\".", foreign)
        let empty = try rig.golden("empty")
        try "{}".write(toFile: "\(empty)/manifest.json", atomically: false, encoding: .utf8)
        expect("\(empty)/manifest.json: format: expected to be there: this is no manifest of a snapshot.", empty)
    }

    @Test("A document of another digest or size", arguments: ["config.json", "state.json"])
    func digests(_ name: String) throws {
        let path = try rig.golden("a")
        let text = try Golden.text("snapshot/\(name)")
        let changed = text.replacingOccurrences(of: "GOLDEN", with: "GILDED")
        try #require(changed != text)
        try changed.write(toFile: "\(path)/\(name)", atomically: false, encoding: .utf8)
        let digests = [text, changed].map { SHA256.text(of: Array($0.utf8)) }
        expect("\(path)/\(name): expected SHA-256 \(digests[0]), found \(digests[1]).", path)
        try (text + " ").write(toFile: "\(path)/\(name)", atomically: false, encoding: .utf8)
        expect("\(path)/\(name): expected \(text.utf8.count) bytes, found \(text.utf8.count + 1).", path)
        try String(text.prefix(20)).write(toFile: "\(path)/\(name)", atomically: false, encoding: .utf8)
        #expect(throws: VMError.self) { _ = try SavedSnapshot(path: path).readState() }
    }

    @Test("A memory file that was cut short, or is none")
    func memory() throws {
        let path = try rig.golden("a")
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: "\(path)/memory"))
        try file.truncate(atOffset: Golden.snapshotMemory - 4096)
        expect("\(path)/memory: expected a file of 16777216 bytes, found 16773120.", path)
        try FileManager.default.removeItem(atPath: "\(path)/memory")
        try FileManager.default.createDirectory(atPath: "\(path)/memory", withIntermediateDirectories: false)
        #expect(throws: VMError.self) { _ = try SavedSnapshot(path: path).readState() }
    }

    @Test("A chain of three: RAM is that of the last, and each layer is one file")
    func chain() throws {
        let a = try SavedSnapshot(path: try rig.write("a", pages: [1: 1, 2: 1, 3: 1]))
        let b = try SavedSnapshot(path: try rig.write("b", pages: [2: 2, 3: 2], base: a))
        let c = try SavedSnapshot(path: try rig.write("c", pages: [3: 0, 900: 3], base: b))
        #expect(c.bases.map(\.path) == [a.path, b.path] && c.layers.count == 3)
        let memory = try GuestMemory(ranges: [0..<Golden.snapshotMemory], layers: c.layers)
        #expect([0, 1, 2, 3, 900].map { memory.load(at: $0 * 4096, as: UInt8.self) } == [0, 1, 2, 0, 3])
        // They move together.
        let moved = rig.place("elsewhere")
        try FileManager.default.createDirectory(atPath: moved, withIntermediateDirectories: false)
        for name in ["a", "b", "c"] { try FileManager.default.moveItem(atPath: rig.place(name), toPath: "\(moved)/\(name)") }
        #expect(try SavedSnapshot(path: "\(moved)/c").bases.map(\.path) == ["\(moved)/a", "\(moved)/b"])
    }

    @Test("A base that is missing, has moved, has changed, or is of another size")
    func bases() throws {
        let a = try SavedSnapshot(path: try rig.write("a", pages: [1: 1]))
        let b = try rig.write("b", pages: [2: 2], base: a)
        let moved = rig.place("moved")
        try FileManager.default.moveItem(atPath: a.path, toPath: moved)
        expect(
            "\(b): the snapshot lies on another one, which is not at \(a.path); '--base' tells where it is, and 'swvmm snapshot flatten' makes one that lies on none.",
            b)
        #expect(try SavedSnapshot(path: b, base: moved).bases.map(\.path) == [moved])
        let other = try SavedSnapshot(path: try rig.write("a", change: { $0.id = String(repeating: "1", count: 32) }))
        expect(
            "\(other.path): expected the snapshot that \(b) lies on (manifest \(a.digest.prefix(12))…), found another one (\(other.digest.prefix(12))…).",
            b)
        let large = try SavedSnapshot(path: try rig.write("large", memorySize: 18 << 20))
        let c = try rig.write("c", base: large)
        expect("\(large.path): expected 16777216 bytes of RAM, found 18874368.", c)
    }

    @Test("A chain without end")
    func loop() throws {
        let path = try rig.write("a", change: { $0.base = Manifest.Base(sha256: String(repeating: "0", count: 64), path: "a") })
        expect("\(path): more than 256 snapshots lie on each other.", path)
    }

    @Test("Documents of an older version are migrated before they are read")
    func migration() throws {
        let path = try rig.golden("a")
        let migration = Migration(steps: [
            { documents in
                var documents = documents
                documents.configuration = documents.configuration.replacing("name", with: "migrated")
                return documents
            }
        ])
        let snapshot = try SavedSnapshot(path: path, migration: migration)
        #expect(try ConfigFile(document: snapshot.configuration, path: path).configuration.name == "migrated")
    }
}
