import Foundation
import Host
import Schema
import Synchronization
import Testing

@testable import Supervisor

@Suite("Control client")
struct ControlClientTests {
    @Test("The client does what its commands say, and tells no-ops apart")
    func commands() throws {
        let rig = try ControlRig()
        let client = try rig.client()
        #expect(try client.info() == rig.vm.info())
        #expect(try client.sleep() && !client.sleep() && client.wake() && !client.wake())
        let written = try client.snapshot(SnapshotRequest(directory: "/s", base: "/b", then: .stop, digest: true))
        #expect(written.member("bytes") == 4096)
        try client.pressPowerButton()
        #expect(rig.vm.log == ["sleep", "sleep", "wake", "wake", "snapshot /s", "powerButton"])
    }

    @Test("A snapshot may take longer than the client's patience, as long as the VM answers")
    func longSnapshot() throws {
        let rig = try ControlRig(gated: true)
        let client = try rig.client(patience: 1000)
        let written = Result<JSONValue, any Error>.Box()
        let thread = Thread { written.value = Result { try client.snapshot(SnapshotRequest(directory: "/s")) } }
        thread.start()
        rig.vm.begun.wait()
        // A look whether the VM lives.
        #expect(eventually { rig.vm.state.withLock { $0.asked > 0 } })
        rig.vm.gate?.signal()
        #expect(eventually { written.value != nil })
        #expect(try written.value?.get().member("directory") == "/s")
    }

    @Test("No VM, a name that is none, and a VM that has died are told apart")
    func noVM() throws {
        let root = TemporaryRoot()
        #expect(throws: VMError(.resource, "No VM named \"x\" is running.")) { try ControlClient(name: "x", roots: root.roots) }
        for name in ["", "../x", "a/b", ".hidden", String(repeating: "x", count: 65)] {
            #expect(throws: VMError.self) { try ControlClient(name: name, roots: root.roots) }
        }
        try dieAndLeave(root)
        let error = #expect(throws: VMError.self) { try ControlClient(name: "fake", roots: root.roots) }
        #expect(
            error
                == VMError(
                    .resource, "The VM \"fake\" has died; \(root.path)/fake is what it left, and the next of its name takes it over."))
    }

    /// A directory as a VM that was killed leaves it: a lock that nobody holds, and a socket that nobody listens to.
    private func dieAndLeave(_ root: TemporaryRoot) throws {
        try FileManager.default.createDirectory(atPath: "\(root.path)/fake", withIntermediateDirectories: true)
        try Data("1\n".utf8).write(to: URL(fileURLWithPath: "\(root.path)/fake/lock"))
        _ = try UnixSocket.listen(at: "\(root.path)/fake/control.sock")
    }

    @Test("A VM that dies while the client waits is noticed")
    func deathMeanwhile() throws {
        let rig = try ControlRig()
        let client = try rig.client()
        rig.server.stop()
        let error = #expect(throws: VMError.self) { try client.info() }
        #expect(error?.message == "The VM \"fake\" (pid \(getpid())) takes no commands: it starts, or ends.")
        rig.directory.remove()
        #expect(throws: VMError(.resource, "The VM \"fake\" (pid \(getpid())) ended before it had answered.")) { try client.info() }
        #expect(!client.isRunning)
    }

    @Test("A VM that hangs is given up after the client's patience")
    func hangs() throws {
        let root = TemporaryRoot()
        let directory = try RuntimeDirectory.claim(name: "fake", roots: root.roots)
        // It accepts connections, as the kernel does for a process that is stopped, and answers none.
        let listener = try UnixSocket.listen(at: directory.socketPath)
        let client = try ControlClient(name: "fake", roots: root.roots, patience: 1000)
        let late = VMError(.resource, "The VM \"fake\" (pid \(getpid())) did not answer within 1 s.")
        #expect(throws: late) { try client.info() }
        let hasty = try ControlClient(name: "fake", roots: root.roots, patience: 50)
        #expect(throws: VMError.self) { try hasty.sleep() }
        #expect(throws: VMError.self) { try hasty.events { _ in true } }
        #expect(VMList.collect(roots: root.roots, patience: 100).entries.map(\.state) == ["silent"])
        _ = listener.rawValue
    }

    @Test("Events come line by line until the VM ends")
    func events() throws {
        let rig = try ControlRig()
        let client = try rig.client()
        let lines = Counter()
        let hub = rig.hub
        try client.events { line in
            lines.increment()
            hub.publishState("asleep")
            return lines.value < 4
        }
        #expect(lines.value == 4)
        let server = rig.server
        try client.events { _ in
            server.stop()
            return true
        }
    }

    @Test("Stopping waits for the end, and says when there is none in time")
    func stop() throws {
        let rig = try ControlRig()
        let client = try rig.client()
        #expect(throws: VMError(.failure, "The VM \"fake\" has been asked to stop and still runs after 0 s.")) {
            try client.stop(force: true, seconds: 0)
        }
        let (server, directory) = (rig.server, rig.directory)
        let vm = rig.vm
        let thread = Thread {
            _ = eventually { vm.log.count == 2 }
            server.stop()
            directory.remove()
        }
        thread.start()
        try client.stop(force: false, seconds: 20)
        #expect(rig.vm.log == ["stop true", "stop false"])
    }

    @Test("The list and the report show what each VM says")
    func list() throws {
        let rig = try ControlRig()
        let root = rig.root
        try FileManager.default.createDirectory(atPath: "\(root.path)/gone", withIntermediateDirectories: true)
        let list = VMList.collect(roots: root.roots, patience: 5000)
        let started = try #require(ControlTime.seconds("2025-01-31T12:00:00.000Z"))
        #expect(
            list.text(now: started + 3723) == """
                NAME  STATE    PID\(String(repeating: " ", count: "\(getpid())".count - 3))  CPUS  MEMORY  UPTIME
                fake  running  \(getpid())  2     512M    1h2m
                gone  dead     -\(String(repeating: " ", count: "\(getpid())".count - 1))  -     -       -

                """)
        #expect(list.json == [rig.vm.info(), ["name": "gone", "state": "dead", "pid": .null]])
        let report = try VMReport(rig.client())
        #expect(report.text.contains("memory   512M\n") && report.text.contains("device   net0  block  pci  active\n"))
        #expect(report.json.member("config") == rig.vm.configuration())
        #expect([0, 59, 60, 3599, 86_399, 86_400].map(VMList.duration) == ["0s", "59s", "1m0s", "59m59s", "23h59m", "1d0h"])
    }
}

extension Result {
    /// A place for a thread to leave its result.
    final class Box: Sendable where Success: Sendable, Failure == any Error {
        private let lock = Mutex<Result?>(nil)
        var value: Result? {
            get { lock.withLock { $0 } }
            set { lock.withLock { $0 = newValue } }
        }
    }
}
