import Glibc
import Testing
import Virtqueue

@testable import Host

@Suite("Child processes")
struct ChildProcessTests {
    private func shell(_ script: String, _ descriptors: [InheritedDescriptor] = [], environment: [String]? = nil, directory: String? = nil)
        throws -> ChildProcess
    {
        try ChildProcess(
            path: "/bin/sh", arguments: ["sh", "-c", script], environment: environment, descriptors: descriptors, directory: directory)
    }

    /// Everything that a script writes to descriptor 1.
    private func output(_ script: String, _ more: [InheritedDescriptor] = [], environment: [String]? = nil, directory: String? = nil) throws
        -> String
    {
        let pipe = try Pipe()
        let reader = pipe.reader
        var child = try start(pipe.writer, script, more, environment, directory)
        var bytes: [UInt8] = []
        while true {
            let part = try reader.readSome(4096)
            if part.isEmpty { break }
            bytes += part
        }
        try check(child.wait(timeoutMilliseconds: 30000), .exited(0))
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Our end of the pipe closes here, so that the child's is the last one.
    private func start(
        _ writer: consuming OwnedDescriptor, _ script: String, _ more: [InheritedDescriptor], _ environment: [String]?, _ directory: String?
    ) throws -> ChildProcess {
        try shell(script, [InheritedDescriptor(writer.rawValue, as: 1)] + more, environment: environment, directory: directory)
    }

    @Test("A child runs with its arguments, environment and directory")
    func runs() throws {
        try check(output("echo $NAME; pwd", environment: ["NAME=value", "PATH=/bin:/usr/bin"], directory: "/"), "value\n/\n")
    }

    @Test("A child has the descriptors it was given, at their numbers, and no others")
    func descriptors() throws {
        let first = try makeMemoryFile(name: "first", size: 4096)
        let second = try makeMemoryFile(name: "second", size: 4096)
        // Each wants the other's number.
        let swapped = [InheritedDescriptor(first.rawValue, as: second.rawValue), InheritedDescriptor(second.rawValue, as: first.rawValue)]
        let script = "readlink /proc/$$/fd/\(first.rawValue) /proc/$$/fd/\(second.rawValue); ls /proc/$$/fd | wc -l"
        let lines = try output(script, swapped).split(separator: "\n")
        check(lines.first?.contains("memfd:second"), true)
        check(lines.dropFirst().first?.contains("memfd:first"), true)
        check(lines.last, "5")
    }

    @Test("A program that cannot be run is an error here, not a child")
    func cannotRun() throws {
        #expect(throws: SystemError("exec", .noEntry)) { _ = try ChildProcess(path: "/nonexistent", arguments: ["x"]) }
        #expect(throws: SystemError("exec", .accessDenied)) { _ = try ChildProcess(path: "/etc/passwd", arguments: ["x"]) }
        #expect(throws: SystemError.self) { _ = try shell("true", [InheritedDescriptor(99999, as: 5)]) }
        #expect(throws: SystemError("exec", .noEntry)) { _ = try shell("true", directory: "/nonexistent") }
    }

    @Test("A child that is not waited for says in the end whether its program was executed")
    func notWaitedFor() throws {
        var missing = try ChildProcess(path: "/nonexistent", arguments: ["x"], waits: false)
        try check(missing.wait(timeoutMilliseconds: 30000), .exited(127))
        check(missing.startFailure(), SystemError("exec", .noEntry))
        // The same code of a program's own is no failure to start it.
        var program = try ChildProcess(path: "/bin/sh", arguments: ["sh", "-c", "exit 127"], waits: false)
        try check(program.wait(timeoutMilliseconds: 30000), .exited(127))
        check(program.startFailure(), nil)
        var running = try ChildProcess(path: "/bin/sh", arguments: ["sh", "-c", "exec sleep 1000"], waits: false)
        check(running.startFailure(), nil)
        running.signal(SIGKILL)
        try check(running.wait(timeoutMilliseconds: 30000), .killed(9))
    }

    @Test("Its end is seen, with its code or its signal")
    func ends() throws {
        var quick = try shell("exit 7")
        try check(quick.wait(timeoutMilliseconds: 30000), .exited(7))
        try check(quick.wait(timeoutMilliseconds: 0), .exited(7))
        var killed = try shell("kill -9 $$")
        try check(killed.wait(timeoutMilliseconds: 30000), .killed(9))
        var running = try shell("exec sleep 1000")
        try check(running.wait(timeoutMilliseconds: 0), nil)
        running.signal(SIGTERM)
        try check(running.wait(timeoutMilliseconds: 30000), .killed(SIGTERM))
    }

    @Test("Who does not end when asked is killed; who has no owner is gone")
    func terminate() throws {
        try check(shell("exec sleep 1000").terminate(graceMilliseconds: 30000), .killed(SIGTERM))
        let pipe = try Pipe()
        let stubborn = try shell("trap '' TERM; echo; while :; do sleep 1; done", [InheritedDescriptor(pipe.writer.rawValue, as: 1)])
        _ = try pipe.reader.readSome(1)
        check(stubborn.terminate(graceMilliseconds: 50), .killed(SIGKILL))
        let processID = try orphan()
        #expect(kill(processID, 0) == -1 && Errno.current == Errno(rawValue: ESRCH))
    }

    private func orphan() throws -> Int32 {
        let child = try shell("exec sleep 1000")
        check(kill(child.processID, 0), 0)
        return child.processID
    }

    @Test("Programs are found as a shell finds them")
    func find() {
        check(findProgram("sh")?.hasSuffix("/sh"), true)
        check(findProgram("/bin/sh"), "/bin/sh")
        check(findProgram("no-such-program-anywhere"), nil)
        check(findProgram("/etc/passwd"), nil)
    }
}

/// Compares values that come from owners which cannot be copied, as `#expect` would copy them.
func check<Value: Equatable>(_ actual: Value, _ expected: Value, sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(actual == expected, sourceLocation: sourceLocation)
}
