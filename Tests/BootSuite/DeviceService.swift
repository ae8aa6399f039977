import Glibc
import Host

/// A `swvmm device` for somebody else's front-end: supervisor and jailed process, seen from outside.
final class DeviceService {
    let socket: String
    private let program: String
    private let arguments: [String]
    private var machine: RunningVM

    /// Starts it, and waits until its socket is there. `settings` are those of the device, as `KEY=VALUE`.
    init(_ options: Options, _ kind: String, in scratch: Scratch, packed: Bool, _ settings: String...) throws {
        socket = "\(scratch.path)/\(kind).sock"
        program = options.swvmm
        arguments = ["device", kind, "--socket", socket, "packedRing=\(packed)"] + settings
        machine = try RunningVM(program: program, arguments: arguments)
        let deadline = MonotonicTime.now + peerPatience
        while !UnixSocket.exists(at: socket) {
            try expectAlive()
            guard MonotonicTime.now < deadline else { throw PeerFailure("\(name) makes no socket") }
            _ = usleep(10_000)
        }
    }

    private var name: String { "swvmm \(arguments.prefix(2).joined(separator: " "))" }

    /// What it has said.
    private var complaints: [String] { lines(machine.complaints).map { "\(name): \($0)" } }

    /// What it has said, and whether it still runs.
    var condition: [String] {
        _ = machine.nextLine(before: MonotonicTime.now + 10)
        return complaints + ["\(name) \(machine.status.map { "\($0)" } ?? "still runs")"]
    }

    /// Listens to it; it must not have ended.
    func expectAlive() throws {
        _ = machine.nextLine(before: MonotonicTime.now + 10)
        guard let status = machine.status else { return }
        throw PeerFailure("\(name) \(status)", context: complaints)
    }

    /// Kills all of it with SIGKILL, the supervisor alone or the process of the device first, and starts it anew. The process is held up
    /// before, so that requests pile up, and has so many microseconds to begin with them.
    func killAndStart(processFirst: Bool, after microseconds: UInt32) throws {
        try expectAlive()
        let process = try process()
        _ = Glibc.kill(process, SIGSTOP)
        _ = usleep(200_000)
        _ = Glibc.kill(process, SIGCONT)
        _ = usleep(microseconds)
        try kill(processFirst: processFirst)
        try start()
    }

    /// The jailed process.
    private func process() throws -> Int32 {
        let found = (Command.shell("pgrep -P \(machine.processID)") ?? "").split(separator: "\n").compactMap { Int32($0) }
        guard found.count == 1 else { throw PeerFailure("\(name): expected one process below the supervisor, found \(found)") }
        return found[0]
    }

    /// Kills all of it with SIGKILL, the supervisor alone or the process of the device first.
    func kill(processFirst: Bool) throws {
        let process = try process()
        if processFirst { _ = Glibc.kill(process, SIGKILL) }
        machine.signal(SIGKILL)
        guard let status = machine.waitForEnd(before: MonotonicTime.now + peerPatience) else {
            throw PeerFailure("\(name) outlives SIGKILL")
        }
        // A supervisor that was quick enough has seen the end of its process, and left.
        guard status == .killed(SIGKILL) || processFirst && status == .exited(1) else {
            throw PeerFailure("\(name) \(status) when it was killed", context: complaints)
        }
    }

    /// Starts it anew.
    func start() throws { machine = try RunningVM(program: program, arguments: arguments) }

    /// Starts it anew, which must end with this exit code; what it says.
    func startInVain(code: Int32) throws -> String {
        let result = Command.run([program] + arguments)
        guard result.status == .exited(code) else {
            let found = result.status.map { "\($0)" } ?? "no end"
            throw PeerFailure("\(name): expected exit code \(code), found \(found)", context: lines(result.errors))
        }
        return result.errors
    }

    /// Ends it as a service manager does; it must have nothing to complain of.
    func end() throws {
        try expectAlive()
        machine.signal(SIGTERM)
        let status = machine.waitForEnd(before: MonotonicTime.now + peerPatience)
        guard status == .exited(0), complaints.isEmpty else {
            let found = status.map { "\($0)" } ?? "no end"
            throw PeerFailure("\(name): expected exit code 0 and no complaint, found \(found)", context: complaints)
        }
        if UnixSocket.exists(at: socket) { throw PeerFailure("\(name) leaves its socket behind") }
    }
}
