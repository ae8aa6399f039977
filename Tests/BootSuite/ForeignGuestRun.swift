import Glibc
import Host

/// A Linux guest of ours whose devices are served by programs of others.
final class ForeignGuestRun {
    private static let tap = "swtest0"
    private static let name = "foreign"
    private static let seconds: Int64 = 600
    private let options: Options
    private let note: PeerNote
    private let scratch = Scratch("foreign")
    private var machine: RunningVM?
    private var servers: [String: ForeignServer] = [:]
    private var peers: [TransferPeer] = []
    private var passed: Set<String> = []
    private var sums: [String: String] = [:]

    init(_ options: Options, _ note: @escaping PeerNote) { (self.options, self.note) = (options, note) }

    func clear() {
        machine?.kill()
        _ = Command.shell("ip link del \(Self.tap)")
        scratch.remove()
    }

    // MARK: What is done

    /// A disk of qemu-storage-daemon's, a share of virtiofsd's, and the network of another `swvmm`.
    func useEverything() throws {
        let place = scratch.path
        try prepare(
            "ip tuntap add \(Self.tap) mode tap multi_queue && ip addr add 10.7.0.1/24 dev \(Self.tap) && ip link set \(Self.tap) up",
            "head -c 4194304 /dev/urandom >transfer", "mkdir -p share/many && head -c 3000000 /dev/urandom >share/from-host",
            "for i in 0 1 2 3 4; do seq $i 5000 >share/many/$i; done")
        servers["disk"] = try .storageDaemon(scratch, size: "64M")
        servers["files"] = try .fileServer(scratch, directory: "\(place)/share")
        servers["net"] = try .ours(options, "net", scratch, "backend.tap=\(Self.tap)", "queuePairs=2")
        peers = [
            try TransferPeer("-U", port: 9001, "OPEN:\(place)/transfer"),
            try TransferPeer("-u", port: 9002, "OPEN:\(place)/back,creat,trunc"),
        ]
        let checks = ["file_system", "share", "tap", "personality", "asleep", "refused"]
        try start(
            checks, end: "poweroff",
            devices: [
                "\"id\": \"disk\", \"type\": \"block\", \"backend\": { \"vhostUser\": \"disk.sock\" }",
                "\"id\": \"files\", \"type\": \"fs\", \"tag\": \"files\", \"backend\": { \"vhostUser\": \"files.sock\" }",
                "\"id\": \"tap\", \"type\": \"net\", \"backend\": { \"vhostUser\": \"net.sock\" }, \"queuePairs\": 2, "
                    + "\"mac\": \"52:54:00:00:00:01\"",
            ])
        try follow(checks)
        try expectEnd(.exited(0))
        for server in servers.values { try server.end() }
        note("it ends well, and so do its back-ends")
        try checkImage()
        try checkFiles()
        let remains = Command.shell("pgrep -a -x 'swvmm|virtiofsd|qemu-storage-d'; true") ?? ""
        guard remains.isEmpty else { throw PeerFailure("something is left behind: \(remains)") }
        note("nothing is left behind")
    }

    /// qemu-storage-daemon keeps no notes of requests in flight.
    func killDisk() throws {
        servers["disk"] = try .storageDaemon(scratch, size: "16M")
        let checks = ["killed_idle", "killed_busy"]
        try start(checks, end: "wait", devices: ["\"id\": \"disk\", \"type\": \"block\", \"backend\": { \"vhostUser\": \"disk.sock\" }"])
        try follow(checks)
        try expectEnd(.exited(83))
    }

    // MARK: The guest

    private func prepare(_ commands: String...) throws {
        for command in commands where Command.shell("cd \(scratch.path) && \(command)") == nil { throw PeerFailure("failed: \(command)") }
    }

    private func start(_ checks: [String], end: String, devices: [String]) throws {
        var vm = VMFile(kernel: "\(options.guests)/6.12")
        vm.name = Self.name
        vm.isolation = options.isolation
        vm.initrd = "\(options.guests)/6.12.initrd"
        vm.memory = "256M"
        vm.serial = "{ \"file\": \"serial.log\" }"
        vm.commandLine =
            "console=ttyS0 quiet panic=-1 swvmm.mode=script swvmm.console=hvc0 swvmm.checks=\(checks.joined(separator: ",")) swvmm.end=\(end)"
            + " swvmm.disk=vhost_user_blk swvmm.pairs=2 swvmm.transport=pci"
        vm.devices = ["\"id\": \"console\", \"type\": \"console\""] + devices
        machine = try RunningVM(swvmm: options.swvmm, configuration: scratch.write("vm.json", vm.text))
    }

    /// Listens until the guest has gone through its checks, and answers what it asks.
    private func follow(_ checks: [String]) throws {
        let deadline = MonotonicTime.now + Self.seconds * 1000
        while passed.count < checks.count {
            guard let line = machine?.nextLine(before: deadline) else { throw failure("the guest came as far as \(passed.sorted())") }
            let words = line.split(separator: " ").map(String.init)
            switch words.first {
            case "CHECK" where words.count >= 3:
                guard words[2] == "ok" else { throw failure(line) }
                passed.insert(words[1])
                note(words[1])
            case "HOST" where words.count == 2:
                guard machine?.type("\(try answer(to: words[1]))\n") == true else { throw failure("the console takes no input") }
            case "SUM" where words.count == 2, "SHARED" where words.count == 2: sums[words[0]] = words[1]
            default: break
            }
        }
    }

    private func failure(_ reason: String) -> PeerFailure {
        let said = machine?.history.suffix(12).map { $0 } ?? []
        let serial = lines(Command.shell("cat \(scratch.path)/serial.log") ?? "", last: 10).map { "serial: \($0)" }
        return PeerFailure(reason, context: said + complaints.map { "stderr: \($0)" } + serial)
    }

    private var complaints: [String] { lines(machine?.complaints ?? "", last: 10) }

    private func expectEnd(_ status: ExitStatus) throws {
        if status != .exited(0) { _ = Command.run([options.swvmm, "stop", Self.name, "--force"]) }
        let found = machine?.waitForEnd(before: MonotonicTime.now + peerPatience)
        guard found == status else { throw failure("expected the VM's end \(status), found \(found.map { "\($0)" } ?? "none")") }
    }

    private func answer(to question: String) throws -> String {
        let place = scratch.path
        switch question {
        case "tap": return "up"
        case "sum": return Command.shell("sha1sum <\(place)/transfer | cut -d ' ' -f 1") ?? ""
        case "share": return Command.shell("cd \(place)/share && cat from-host many/* | sha256sum | cut -d ' ' -f 1") ?? ""
        case "neighbour": return Command.shell("ip neigh show 10.7.0.2 dev \(Self.tap) | sed -n 's/.*lladdr \\([^ ]*\\).*/\\1/p'") ?? ""
        case "asleep":
            for command in ["sleep", "wake"] {
                let result = Command.run([options.swvmm, command, Self.name])
                guard result.succeeded else { throw failure("swvmm \(command): \(result.errors)") }
            }
            return "awake"
        case "snapshot":
            // A share has open files, of which only virtiofsd knows.
            let result = Command.run([options.swvmm, "snapshot", Self.name, "\(place)/snapshot"])
            let expected = ["files", "cannot save its state", "Nothing was kept"]
            let isRefused = result.status == .exited(66) && expected.allSatisfy { result.errors.firstRange(of: $0) != nil }
            guard isRefused, !pathExists("\(place)/snapshot") else { throw failure("expected a refusal, found: \(result.errors)") }
            return "refused"
        case "kill_idle":
            try servers["disk"]?.kill(whileBusy: false)
            try expectComplaint("disk.sock is lost: The back-end has left. Another one is waited for")
            try servers["disk"]?.restart()
            try expectComplaint("disk.sock is back. It kept no notes of requests")
            return "back"
        case "kill_busy":
            try servers["disk"]?.kill(whileBusy: true)
            try expectComplaint("is lost: The back-end has left. Requests were in flight")
            try expectComplaint("VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD). The device fails")
            return "failed"
        default: return "?"
        }
    }

    /// Waits until standard error has a text.
    private func expectComplaint(_ text: String) throws {
        let deadline = MonotonicTime.now + peerPatience
        while machine?.complaints.firstRange(of: text) == nil {
            guard MonotonicTime.now < deadline, machine?.status == nil else { throw failure("expected '\(text)' on standard error") }
            // It is read while lines are waited for; the guest waits for an answer.
            _ = machine?.nextLine(before: MonotonicTime.now + 50)
        }
    }

    // MARK: What the host finds

    private func checkImage() throws {
        let place = scratch.path
        try prepare("qemu-img check -q disk.qcow2", "qemu-img convert -f qcow2 -O raw disk.qcow2 disk.img", "e2fsck -fn disk.img")
        let sum = Command.shell(
            "cd \(place) && mkdir out && debugfs -R 'rdump /numbers /busybox /many \(place)/out' disk.img && cd out"
                + " && LC_ALL=C sha256sum numbers busybox many/* | sha256sum | cut -d ' ' -f 1")
        guard let sum, sum == sums["SUM"] else {
            throw PeerFailure("the guest says '\(sums["SUM"] ?? "")' of its files, the image '\(sum ?? "nothing")'")
        }
        note("the image has the guest's files")
    }

    private func checkFiles() throws {
        let sum = Command.shell("cd \(scratch.path)/share && [ ! -e many/0 ] && sha256sum <made/from-guest | cut -d ' ' -f 1")
        guard let sum, sum == sums["SHARED"] else {
            throw PeerFailure("the guest says '\(sums["SHARED"] ?? "")' of its file, the share '\(sum ?? "nothing")'")
        }
        note("the share has the guest's file")
        guard Command.shell("cmp \(scratch.path)/transfer \(scratch.path)/back") != nil else {
            throw PeerFailure("what came back over the network differs from what was sent")
        }
        note("what was sent over the network came back")
    }
}

/// Somebody on the host whom a guest can connect to: gives or takes a file.
private final class TransferPeer {
    private let process: ChildProcess

    init(_ direction: String, port: Int, _ file: String) throws(SystemError) {
        process = try ChildProcess(
            path: findProgram("socat") ?? "/usr/bin/socat",
            arguments: ["socat", direction, "-b", "262144", "TCP-LISTEN:\(port),reuseaddr,fork", file])
    }
}
