import Testing

@testable import Supervisor

@Suite("Names of a snapshot's files")
struct SnapshotFilesTests {
    @Test("A path is relative to a directory that it lies in, whatever characters its names have")
    func relative() {
        #expect(SnapshotFiles.relative("/var/snapshots/a", to: "/var/snapshots") == "a")
        #expect(SnapshotFiles.relative("/var/b/a", to: "/var") == "b/a")
        #expect(SnapshotFiles.relative("/a", to: "/") == "a")
        #expect(SnapshotFiles.relative("/var/snapshots2/a", to: "/var/snapshots") == "/var/snapshots2/a")
        #expect(SnapshotFiles.relative("/düne/größe/a", to: "/düne/größe") == "a")
        #expect(SnapshotFiles.relative("/e\u{301}/a", to: "/\u{e9}") == "/e\u{301}/a", "names are bytes to the kernel")
    }
}
