import Glibc
import Testing
import Virtqueue

@testable import Host

@Suite("Sockets and terminals")
struct SocketAndTerminalTests {
    @Test("A Unix socket is its owner's alone; errors name what is wrong")
    func socket() throws {
        let path = "/tmp/swvmm-\(getpid())-host.sock"
        removeFile(path)
        defer { removeFile(path) }
        #expect(throws: SystemError("connect", .noEntry)) { _ = try UnixSocket.connect(to: path) }
        let listener = try UnixSocket.listen(at: path)
        #expect(throws: SystemError("bind", Errno(rawValue: EADDRINUSE))) { _ = try UnixSocket.listen(at: path) }
        #expect(throws: SystemError("connect", Errno(rawValue: ENAMETOOLONG))) {
            _ = try UnixSocket.connect(to: "/" + String(repeating: "x", count: 107))
        }
        let client = try UnixSocket.connect(to: path)
        let server = try UnixSocket.accept(on: listener)
        check(server.isSocket(), true)
        try check(client.send([1, 2, 3].span.untyped), 3)
        try check(client.peerHasReadAll(), false)
        try check(server.readSome(10), [1, 2, 3])
        try check(client.peerHasReadAll(), true)
        try listener.setNonBlocking()
        #expect(throws: SystemError("accept4", .wouldBlock)) { _ = try UnixSocket.accept(on: listener) }
    }

    @Test("Writing to a peer that has gone is an error and no signal")
    func brokenPipe() throws {
        let end = try Self.lonelyEnd()
        #expect(throws: SystemError("send", Errno(rawValue: EPIPE))) { _ = try end.send([1].span.untyped) }
    }

    private static func lonelyEnd() throws -> OwnedDescriptor {
        let pair = try SocketPair()
        return pair.first
    }

    @Test("Raw mode lasts as long as its value, and the mode from before comes back")
    func rawMode() throws {
        let pair = try PseudoTerminal(try OwnedDescriptor.open("/dev/ptmx", flags: O_RDWR | O_NOCTTY))
        // A terminal as a shell leaves it: lines, echo.
        let terminal = try OwnedDescriptor.open(pair.path, flags: O_RDWR | O_NOCTTY)
        check(terminal.isTerminal(), true)
        try pair.controller.setWindowSize(WindowSize(columns: 90, rows: 33))
        check(terminal.windowSize(), WindowSize(columns: 90, rows: 33))
        func passes(_ bytes: [UInt8]) throws -> [UInt8] {
            _ = try pair.controller.write(bytes.span.untyped)
            return try terminal.readSome(100)
        }
        try check(passes([3, 4, 13]), [3, 4, 13])
        var child = try ChildProcess(
            path: try #require(findProgram("stty")), arguments: ["stty", "sane"],
            descriptors: [InheritedDescriptor(terminal.rawValue, as: 0)])
        try check(child.wait(timeoutMilliseconds: 30000), .exited(0))
        try withRaw(try terminal.duplicate()) { try check(passes([3, 4, 13]), [3, 4, 13]) }
        // Carriage return becomes a newline again.
        try check(passes([65, 13]), [65, 10])
        let file = try makeMemoryFile(name: "no-terminal", size: 1)
        check(file.isTerminal(), false)
        check(file.windowSize(), nil)
        #expect(throws: SystemError("tcgetattr", Errno(rawValue: ENOTTY))) { _ = try TerminalMode(raw: try file.duplicate()) }
    }

    private func withRaw(_ terminal: consuming OwnedDescriptor, _ body: () throws -> Void) throws {
        let mode = try TerminalMode(raw: terminal)
        try body()
        _ = mode.windowSize()
    }

    @Test("A standard stream that leads to a file shares the place in it with all who write there")
    func standardStreamToFile() throws {
        let file = try makeMemoryFile(name: "log", size: 0)
        _ = try file.write([65, 66].span.untyped)
        let again = try OwnedDescriptor.reopeningStandardStream(file.rawValue, flags: O_WRONLY)
        _ = try again.write([67].span.untyped)
        _ = try file.write([68].span.untyped)
        check(file.rawValue == again.rawValue, false)
        let content = ByteBuffer(count: 8)
        try check(file.readAll(into: content.range(), at: 0), 4)
        #expect((0..<4).map { content.range().load(at: $0, as: UInt8.self) } == [65, 66, 67, 68])
    }

    @Test("Bytes move within a buffer, also over each other")
    func buffer() {
        var buffer = ByteBuffer(count: 8)
        check(buffer.copy(from: [1, 2, 3, 4, 5, 6, 7, 8, 9].span.untyped), 8)
        buffer.move(from: 2, count: 5, to: 0)
        #expect((0..<8).map { buffer.range().load(at: $0, as: UInt8.self) } == [3, 4, 5, 6, 7, 6, 7, 8])
        buffer.move(from: 0, count: 100, to: 6)
        #expect((0..<8).map { buffer.range().load(at: $0, as: UInt8.self) } == [3, 4, 5, 6, 7, 6, 3, 4])
        check(buffer.range(from: 20, count: 5).count, 0)
    }
}
