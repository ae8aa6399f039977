import CProbe
import Host
import Testing

@testable import Jail

/// A process in the jail of a kind of device tries, one by one, what it must not be able to do.
@Suite("Jail, tried from inside")
struct JailTests {
    private static let attempts = Array((Int32(0)...).lazy.prefix { unsafe probe_name($0) != nil })

    private static func name(_ index: Int32) -> String {
        guard let name = unsafe probe_name(index) else { return "" }
        return unsafe String(cString: name)
    }

    private static var program: String {
        // Beside the test bundle.
        let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
        return bundle.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/") + "/JailProbe"
    }

    /// How a process in the jail of `kind` ended, and what was reported.
    private func run(_ kind: String, _ index: Int32, in room: JailRoom? = nil) throws -> (status: Host.ExitStatus?, report: String) {
        let report = try Pipe()
        var child = try Self.start(kind, index, report.writer, room)
        let status = try child.wait(timeoutMilliseconds: 30_000)
        try report.reader.setNonBlocking()
        let bytes = (try? report.reader.readSome(4096)) ?? []
        return (status, String(decoding: bytes, as: UTF8.self))
    }

    private static func start(
        _ kind: String, _ index: Int32, _ report: borrowing OwnedDescriptor, _ room: JailRoom? = nil
    ) throws -> ChildProcess {
        let isRoot = HostFacts.isRoot
        let own: Namespaces = isRoot ? .all : Namespaces.all.union(.users)
        return try ChildProcess(
            path: program, arguments: ["JailProbe", kind, "\(index)", isRoot ? "root" : "user"],
            descriptors: [InheritedDescriptor(report.rawValue, as: 3)] + (room?.inherited(from: 4) ?? []),
            namespaces: room == nil ? own : .besideRoom)
    }

    @Test("A process that looks at nothing ends with the thread that started it, and so with its process")
    func parentDeath() throws {
        let report = try Pipe()
        let writer = Slot(try report.writer.duplicate())
        let child = Slot<ChildProcess>()
        let closed = try EventFD()
        let starter = try WorkerThread(name: "starter", state: true) { _, stop in
            guard let writer = writer.take(), let started = try? Self.start("block", -1, writer) else { return }
            child.put(started)
            closed.signal()
            _ = stop.wait()
        }
        #expect(closed.waitWithoutDraining(milliseconds: 10_000))
        let poller = try Poller()
        try poller.add(report.reader.rawValue, token: 0)
        try #require(try poller.wait(timeoutMilliseconds: 10_000) { _ in } > 0)
        #expect(String(decoding: try report.reader.readSome(6), as: UTF8.self) == "closed")
        _ = starter.stop()
        guard var process = child.take() else { throw SystemError("start", .invalidArgument) }
        #expect(try process.wait(timeoutMilliseconds: 10_000) == .killed(9))
    }

    @Test("What is allowed goes through", arguments: ["block", "net", "rng", "console"])
    func nothing(_ kind: String) throws {
        let result = try run(kind, 0)
        #expect(result.status == .exited(0))
        #expect(result.report == "")
    }

    @Test("Whatever else is tried ends the process, and the report names it", arguments: attempts.dropFirst())
    func attempt(_ index: Int32) throws {
        let result = try run("block", index)
        #expect(result.status == .exited(159), "\(Self.name(index))")
        #expect(result.report.hasPrefix("{\"seccomp\":"), "\(Self.name(index)): \(result.report)")
    }

    @Test("A process that enters a room is in the same jail", .enabled(if: HostFacts.isRoot))
    func room() throws {
        let room = try JailRoom()
        for kind in ["block", "net", "rng", "console"] {
            let result = try run(kind, 0, in: room)
            #expect(result.status == .exited(0))
            #expect(result.report == "")
        }
        for index in Self.attempts.dropFirst() {
            let result = try run("block", index, in: room)
            #expect(result.status == .exited(159), "\(Self.name(index))")
            #expect(result.report.hasPrefix("{\"seccomp\":"), "\(Self.name(index)): \(result.report)")
        }
    }

    @Test("A room is empty, cannot be written to, and has no network but its own", .enabled(if: HostFacts.isRoot))
    func emptiness() throws {
        let room = try JailRoom()
        let places = room.inherited(from: 7)
        try #require(EventFD(owning: try .duplicating(inherited: places[2].source)).waitWithoutDraining(milliseconds: 10_000))
        let enter = "nsenter --mount=/proc/self/fd/7 --net=/proc/self/fd/8"
        func outcome(_ script: String) throws -> Host.ExitStatus? {
            var child = try ChildProcess(path: "/bin/sh", arguments: ["sh", "-c", script], descriptors: places)
            return try child.wait(timeoutMilliseconds: 30_000)
        }
        // Nothing can be executed there, because there is nothing.
        #expect(try outcome("\(enter) /bin/true 2>/dev/null") == .exited(127))
        // One line with a colon for each interface: that for itself.
        #expect(try outcome("nsenter --net=/proc/self/fd/8 sh -c 'test $(grep -c : /proc/self/net/dev) = 1'") == .exited(0))
        #expect(try outcome("test $(readlink /proc/self/fd/7) != $(readlink /proc/self/ns/mnt)") == .exited(0))
        #expect(try outcome("test $(readlink /proc/self/fd/8) != $(readlink /proc/self/ns/net)") == .exited(0))
    }

    @Test("A report's number becomes a name")
    func names() {
        #expect(SystemCalls.name(of: 41, architecture: 0xc000_003e) == "socket")
        #expect(SystemCalls.name(of: 20, architecture: 0x4000_0003) == "getpid")
        #expect(SystemCalls.name(of: 99999, architecture: 0xc000_003e) == "number 99999")
    }
}
