import Foundation
import Host
import Synchronization
import Testing

@testable import Supervisor

@Suite("Runtime directory")
struct RuntimeDirectoryTests {
    private func mode(_ path: String) throws -> Int {
        try #require(FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    }

    @Test("The directory and what is in it are the owner's alone, and go when the VM goes")
    func life() throws {
        let rig = try ControlRig()
        let path = rig.directory.path
        #expect(path == "\(rig.root.path)/fake")
        #expect(try mode(rig.root.path) == 0o700 && mode(path) == 0o700)
        #expect(try mode("\(path)/lock") == 0o600 && mode("\(path)/control.sock") == 0o600)
        #expect(try String(contentsOfFile: "\(path)/lock", encoding: .utf8) == "\(getpid())\n")
        rig.server.stop()
        #expect(!pathExists("\(path)/control.sock") && pathExists("\(path)/lock"))
        rig.directory.remove()
        #expect(!pathExists(path) && pathExists(rig.root.path))
    }

    @Test("A name is one VM's at a time")
    func exclusive() throws {
        let root = TemporaryRoot()
        let first = try RuntimeDirectory.claim(name: "a", roots: root.roots)
        let other = try RuntimeDirectory.claim(name: "b", roots: root.roots)
        let taken = VMError(.resource, "A VM named \"a\" is running (pid \(getpid())); stop it, or give this one another name.")
        #expect(throws: taken) { try RuntimeDirectory.claim(name: "a", roots: root.roots) }
        // Also when it was started with another environment.
        let elsewhere = TemporaryRoot()
        #expect(throws: taken) {
            try RuntimeDirectory.claim(name: "a", roots: RuntimeRoots([elsewhere.path, root.path]))
        }
        #expect(try RuntimeState.of(first.path) == .running(pid: Int64(getpid())))
        first.remove()
        #expect(try RuntimeState.of(first.path) == .absent)
        let again = try RuntimeDirectory.claim(name: "a", roots: root.roots)
        // The first one's end does not touch the second one's directory.
        first.remove()
        #expect(try RuntimeState.of(again.path) == .running(pid: Int64(getpid())))
        #expect(root.roots.names() == ["a", other.name])
    }

    @Test("However starts and ends of VMs of one name fall together, there is never more than one")
    func race() {
        let root = TemporaryRoot()
        let (holding, mistakes, lives, finished) = (Flag(), Counter(), Counter(), Counter())
        withExtendedLifetime(root) {
            for _ in 0..<3 {
                Thread {
                    for _ in 0..<400 {
                        guard let directory = try? RuntimeDirectory.claim(name: "a", roots: root.roots) else { continue }
                        lives.increment()
                        if !holding.raise() { mistakes.increment() }
                        sched_yield()
                        holding.lower()
                        directory.remove()
                    }
                    finished.increment()
                }.start()
            }
            #expect(eventually { finished.value == 3 })
        }
        #expect(mistakes.value == 0 && lives.value > 0)
    }

    @Test("What a dead VM left is taken over")
    func stale() throws {
        let root = TemporaryRoot()
        try FileManager.default.createDirectory(atPath: "\(root.path)/a", withIntermediateDirectories: true)
        try Data("123456789012345\n".utf8).write(to: URL(fileURLWithPath: "\(root.path)/a/lock"))
        _ = try UnixSocket.listen(at: "\(root.path)/a/control.sock")
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: "\(root.path)/a")
        #expect(try RuntimeState.of("\(root.path)/a") == .dead)
        let directory = try RuntimeDirectory.claim(name: "a", roots: root.roots)
        #expect(!pathExists(directory.socketPath))
        #expect(try mode(directory.path) == 0o700)
        #expect(try String(contentsOfFile: "\(directory.path)/lock", encoding: .utf8) == "\(getpid())\n")
    }

    @Test("Links, files and what belongs to others are refused")
    func strangers() throws {
        let root = TemporaryRoot()
        try FileManager.default.createDirectory(atPath: root.path, withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(atPath: "\(root.path)/link", withDestinationPath: "\(root.path)/elsewhere")
        try Data().write(to: URL(fileURLWithPath: "\(root.path)/file"))
        for (name, what) in [("link", "a symbolic link"), ("file", "a file")] {
            let error = #expect(throws: VMError.self) { try RuntimeDirectory.claim(name: name, roots: root.roots) }
            #expect(error?.message.contains("\(root.path)/\(name): ") == true, "\(what): \(error?.message ?? "")")
        }
        let linkedRoot = "\(root.path)/link"
        let error = #expect(throws: VMError.self) { try RuntimeDirectory.claim(name: "a", roots: RuntimeRoots([linkedRoot])) }
        #expect(error?.message == "\(linkedRoot): is a symbolic link; expected a directory of this user.")
        try FileManager.default.createDirectory(atPath: "\(root.path)/b", withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(atPath: "\(root.path)/b/lock", withDestinationPath: "/tmp/swvmm-nothing")
        #expect(throws: VMError.self) { try RuntimeDirectory.claim(name: "b", roots: root.roots) }
        #expect(!pathExists("/tmp/swvmm-nothing"))
    }

    @Test("A directory of another user is refused", .enabled(if: getuid() == 0))
    func otherUser() throws {
        let root = TemporaryRoot()
        try FileManager.default.createDirectory(atPath: "\(root.path)/a", withIntermediateDirectories: true)
        try FileManager.default.setAttributes([.ownerAccountID: 12345], ofItemAtPath: "\(root.path)/a")
        #expect(throws: VMError(.resource, "\(root.path)/a: belongs to user 12345; expected a directory of this user.")) {
            try RuntimeDirectory.claim(name: "a", roots: root.roots)
        }
    }

    @Test("A socket's path that does not fit is refused before anything is made")
    func longPath() {
        let root = "/tmp/" + String(repeating: "x", count: 80)
        let error = #expect(throws: VMError.self) {
            try RuntimeDirectory.claim(name: "a-long-name", roots: RuntimeRoots([root]))
        }
        #expect(error?.message.contains("a socket's path has at most 107") == true)
        #expect(!pathExists(root))
    }

    @Test("Where directories are: the user's runtime directory, else one for root, else one for each user")
    func roots() {
        #expect(RuntimeRoots.of(user: 0, runtimeDirectory: nil).all == ["/run/swvmm"])
        #expect(RuntimeRoots.of(user: 7, runtimeDirectory: nil).all == ["/tmp/swvmm-7"])
        #expect(RuntimeRoots.of(user: 7, runtimeDirectory: "/tmp/").all == ["/tmp/swvmm", "/tmp/swvmm-7"])
        for useless in ["", "tmp", "/no/such/directory"] {
            #expect(RuntimeRoots.of(user: 7, runtimeDirectory: useless).all == ["/tmp/swvmm-7"])
        }
    }
}

/// Something that one at a time may have.
private final class Flag: Sendable {
    private let isUp = Mutex(false)
    /// False when it was up.
    func raise() -> Bool {
        isUp.withLock { isUp in
            defer { isUp = true }
            return !isUp
        }
    }
    func lower() { isUp.withLock { $0 = false } }
}

@Suite("Control socket, small parts")
struct ControlPartTests {
    @Test(
        "Times are written as RFC 3339 and read back",
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (951_782_400, "2000-02-29T00:00:00.000Z"), (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (-1, "1969-12-31T23:59:59.000Z"), (253_402_300_799, "9999-12-31T23:59:59.000Z"),
            (-62_167_219_200, "0000-01-01T00:00:00.000Z"),
        ] as [(Int64, String)])
    func times(seconds: Int64, text: String) {
        #expect(ControlTime.text(WallTime(seconds: seconds)) == text)
        #expect(ControlTime.seconds(text) == seconds)
    }

    @Test("Extreme times do not overflow, and strange texts are no times")
    func strangeTimes() {
        #expect(ControlTime.text(WallTime(seconds: .max, nanoseconds: .max)) == "9999-12-31T23:59:59.999Z")
        #expect(ControlTime.text(WallTime(seconds: .min, nanoseconds: .min)) == "0000-01-01T00:00:00.000Z")
        for text in ["", "2025", "99999999999999999999-01-01T00:00:00.000Z", "2025-13-01T00:00:00.000Z", "a-b-cTd:e:f.gZ"] {
            #expect(ControlTime.seconds(text) == nil)
        }
    }

    @Test("Replies are read whatever the pieces they come in", arguments: [1, 2, 7, 1000])
    func replies(step: Int) throws {
        for (text, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
            (
                "HTTP/1.1 100 Continue\r\n\r\n"
                    + "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", "hello"
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", ""),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        ] {
            var reply = HTTPReply()
            let bytes = Array(text.utf8)
            var position = 0
            while position < bytes.count {
                try reply.feed(Array(bytes[position..<min(position + step, bytes.count)]))
                position += step
            }
            if body.isEmpty { try reply.feed([]) }
            #expect(reply.isComplete && reply.takeBody() == Array(body.utf8), "\(text)")
        }
    }

    @Test(
        "What is no reply is refused",
        arguments: [
            "SSH-2.0-x\r\n\r\n", "HTTP/1.1 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        ])
    func nonsense(text: String) {
        #expect(throws: HTTPReply.Malformed.self) {
            var reply = HTTPReply()
            try reply.feed(Array(text.utf8))
        }
        #expect(throws: HTTPReply.Malformed.self) {
            var reply = HTTPReply()
            try reply.feed(Array("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell".utf8))
            try reply.end()
        }
    }
}
