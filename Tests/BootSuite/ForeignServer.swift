import Glibc
import Host

/// A vhost-user back-end in a program of its own, for a guest of ours.
final class ForeignServer {
    /// Where Debian 12 has QEMU's own.
    static let fileServer = "/usr/lib/qemu/virtiofsd"

    let socket: String
    private let name: String
    private let command: [String]
    private var program: RunningVM

    /// Starts `command`, and waits until it listens.
    private init(_ name: String, socket: String, _ command: [String]) throws {
        (self.name, self.socket, self.command) = (name, socket, command)
        program = try Self.launch(command)
        try waitUntilItListens()
    }

    /// qemu-storage-daemon with a qcow2 image of `size`, which is made if it is not there.
    static func storageDaemon(_ scratch: Scratch, size: String, queues: Int = 1) throws -> ForeignServer {
        let (image, socket) = ("\(scratch.path)/disk.qcow2", "\(scratch.path)/disk.sock")
        guard Command.shell("[ -e \(image) ] || qemu-img create -q -f qcow2 \(image) \(size)") != nil else {
            throw PeerFailure("qemu-img cannot make an image")
        }
        return try ForeignServer(
            "qemu-storage-daemon", socket: socket,
            [
                "qemu-storage-daemon", "--blockdev", "file,filename=\(image),node-name=f", "--blockdev", "qcow2,file=f,node-name=q",
                "--export",
                // Else it keeps tables of the image to itself, and lets the driver believe that there is nothing to flush.
                "vhost-user-blk,id=e,node-name=q,addr.type=unix,addr.path=\(socket),num-queues=\(queues),writable=on,writethrough=on",
            ])
    }

    /// virtiofsd with a directory.
    static func fileServer(_ scratch: Scratch, directory: String) throws -> ForeignServer {
        let socket = "\(scratch.path)/files.sock"
        return try ForeignServer(
            "virtiofsd", socket: socket,
            [fileServer, "--socket-path=\(socket)", "-o", "source=\(directory),sandbox=chroot,log_level=err"])
    }

    /// `swvmm device`, which serves anybody.
    static func ours(_ options: Options, _ kind: String, _ scratch: Scratch, _ settings: String...) throws -> ForeignServer {
        let socket = "\(scratch.path)/\(kind == "block" ? "disk" : kind).sock"
        return try ForeignServer(
            "swvmm device \(kind)", socket: socket, [options.swvmm, "device", kind, "--socket", socket] + settings)
    }

    private static func launch(_ command: [String]) throws -> RunningVM {
        try RunningVM(program: findProgram(command[0]) ?? command[0], arguments: Array(command.dropFirst()))
    }

    private func waitUntilItListens() throws {
        let deadline = MonotonicTime.now + peerPatience
        // To try would make one connection of the few that some take.
        while Command.shell("ss -xl | grep -qF ' \(socket) '") == nil {
            _ = program.nextLine(before: MonotonicTime.now + 10)
            guard program.status == nil, MonotonicTime.now < deadline else {
                throw PeerFailure("\(name) does not listen", context: lines(program.complaints))
            }
            _ = usleep(10_000)
        }
    }

    /// Kills it and what it has started, in the middle of what it does: it is held up before, so that requests pile up.
    func kill(whileBusy: Bool) throws {
        let children = (Command.shell("pgrep -P \(program.processID); true") ?? "").split(separator: "\n").compactMap { Int32($0) }
        let all = children + [program.processID]
        if whileBusy {
            for process in all { _ = Glibc.kill(process, SIGSTOP) }
            _ = usleep(300_000)
        }
        for process in all { _ = Glibc.kill(process, SIGKILL) }
        guard program.waitForEnd(before: MonotonicTime.now + peerPatience) != nil else { throw PeerFailure("\(name) outlives SIGKILL") }
    }

    /// Starts it anew.
    func restart() throws {
        program = try Self.launch(command)
        try waitUntilItListens()
    }

    /// What it has said on standard error.
    var complaints: [String] {
        _ = program.nextLine(before: 0)
        return lines(program.complaints)
    }

    deinit { program.kill() }

    /// Ends it as a service manager does, unless it has ended by itself; it must have nothing to complain of.
    func end() throws {
        _ = program.nextLine(before: MonotonicTime.now + 10)
        if program.status == nil { program.signal(SIGTERM) }
        let status = program.waitForEnd(before: MonotonicTime.now + peerPatience)
        guard status == .exited(0), program.complaints.isEmpty else {
            let found = status.map { "\($0)" } ?? "no end"
            throw PeerFailure("\(name): expected exit code 0 and no complaint, found \(found)", context: lines(program.complaints))
        }
    }
}
