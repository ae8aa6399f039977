import Foundation
import GuestMemory
import Host
import Schema
import Snapshot
import TestSupport
import Testing

@testable import Supervisor

@Suite("Writing snapshots") struct SnapshotWriterTests {
    let rig: SnapshotRig

    init() throws { rig = try SnapshotRig() }

    private func expect(_ sentence: String, at path: String) {
        #expect(throws: VMError(.resource, sentence)) {
            let writer = try SnapshotWriter.begin(at: path)
            _ = writer.path
        }
    }

    @Test("What is written is the owner's alone, whole, and all that there is")
    func whole() throws {
        let path = try rig.write("a", pages: [5: 1])
        #expect(rig.names == ["a"])
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: path).sorted() == ["config.json", "manifest.json", "memory", "state.json"])
        #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o700)
        for name in SnapshotFiles.all {
            #expect(try FileManager.default.attributesOfItem(atPath: "\(path)/\(name)")[.posixPermissions] as? Int == 0o600)
        }
        #expect(try SavedSnapshot(path: path).manifest.extents == [MemoryExtent(firstPage: 5, pageCount: 1)])
    }

    @Test("Until the end there is nothing under the name, and nothing at all when it never comes")
    func unfinished() throws {
        do {
            let writer = try SnapshotWriter.begin(at: rig.place("a"))
            try writer.memory.resize(to: 4096)
            #expect(!pathExists(rig.place("a")))
            #expect(rig.names.count == 1 && rig.names.allSatisfy { $0.hasPrefix(".a.partial-") })
        }
        #expect(rig.names == [])
    }

    @Test("A place that is taken, has no parent, or lies in a file")
    func places() throws {
        let path = try rig.golden("a")
        expect("\(path): expected a place where nothing is yet; it exists.", at: path)
        let orphan = rig.place("none/a")
        expect("\(orphan): the snapshot cannot be written (mkdir: No such file or directory); nothing was kept.", at: orphan)
        let inFile = "\(path)/memory/a"
        expect("\(inFile): the snapshot cannot be written (mkdir: Not a directory); nothing was kept.", at: inFile)
        #expect(rig.names == ["a"])
    }

    @Test("A directory in which nobody may write", .enabled(if: geteuid() != 0, "root may write everywhere"))
    func readOnly() throws {
        let parent = rig.place("closed")
        try FileManager.default.createDirectory(
            atPath: parent, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o500])
        expect("\(parent)/a: the snapshot cannot be written (mkdir: Permission denied); nothing was kept.", at: "\(parent)/a")
    }

    @Test("Of two that write to one place, the first to end has it; the other leaves nothing")
    func race() throws {
        let path = rig.place("a")
        let late = try SnapshotWriter.begin(at: path)
        // Its own leftovers are not those of a dead process.
        _ = try rig.write("a", pages: [1: 1])
        #expect(rig.names.count == 2)
        let manifest = try Manifest(SavedValue(Golden.document("snapshot/manifest.json")))
        do {
            _ = try late.finish(configuration: [:]) { _, _ in manifest }
            Issue.record("two snapshots have one name")
        } catch {
            #expect(error.message == "\(path): the snapshot cannot be written (rename: File exists); nothing was kept.")
        }
        #expect(rig.names == ["a"])
        _ = try SavedSnapshot(path: path)
    }

    @Test("What a killed process has left is removed by the next snapshot to the same place, and by no other")
    func leftovers() throws {
        for name in [".a.partial-0123", ".a.partial-4567", ".b.partial-0123"] {
            try FileManager.default.createDirectory(atPath: rig.place(name), withIntermediateDirectories: false)
        }
        for name in [".a.partial-0123/memory", ".a.partial-0123/state.json", ".b.partial-0123/memory"] {
            try "rest".write(toFile: rig.place(name), atomically: false, encoding: .utf8)
        }
        let live = try SnapshotWriter.begin(at: rig.place("a"))
        #expect(!rig.names.contains(".a.partial-0123") && !rig.names.contains(".a.partial-4567"))
        _ = try rig.write("a")
        #expect(rig.names.filter { $0.hasPrefix(".a.") }.count == 1, "that of a live one stays")
        #expect(rig.names.contains(".b.partial-0123"))
        #expect(!pathExists("\(live.path)/none"))
    }

    /// The program that was built with these tests.
    private static let program = CommandLine.arguments[0].split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/swvmm"

    @Test("A file system that takes no more leaves nothing", .enabled(if: pathExists(program), "the program is not there"))
    func full() throws {
        let source = try rig.write("a", pages: Dictionary((0..<512).map { ($0, 1) }) { $1 })
        // Files can have 1 MiB here, for this process only.
        var process = try ChildProcess(
            path: "/bin/sh",
            arguments: [
                "sh", "-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" snapshot flatten \"$1\" \"$2\" 2>\"$3\"", Self.program, source,
                rig.place("b"), rig.place("message"),
            ])
        #expect(try process.wait(timeoutMilliseconds: 60_000) == .exited(ExitCode.resource.rawValue))
        let message = try String(contentsOfFile: rig.place("message"), encoding: .utf8)
        #expect(
            message.contains("\(rig.path)/b: the snapshot cannot be written (") && message.contains("File too large); nothing was kept."),
            "\(message)")
        #expect(rig.names == ["a", "message"])
    }

    @Test("A chain is flattened to one that lies on none, with the same RAM")
    func flatten() throws {
        let a = try rig.write("a", pages: [1: 1, 2: 1], digest: true)
        let b = try rig.write("b", pages: [2: 2, 3: 0], base: try SavedSnapshot(path: a), digest: true)
        #expect(try SnapshotTools.flatten(b, to: rig.place("flat")) == rig.place("flat"))
        let flat = try SavedSnapshot(path: rig.place("flat"))
        #expect(flat.manifest.base == nil && flat.manifest.extents == [MemoryExtent(firstPage: 1, pageCount: 2)])
        #expect(try SnapshotTools.compare(b, rig.place("flat")).pages == 0)
        #expect(try SnapshotTools.compare(a, b).pages == 1)
        #expect(
            try SnapshotTools.verify(flat.path) == "\(flat.path): manifest, configuration and state are whole; RAM is what its digest says."
        )
        expect("\(a): expected a place where nothing is yet; it exists.", at: a)
    }
}
