import Glibc
import Glibc
import Host

/// Linux guests that work while they are put to sleep, saved, killed and brought back: as root, in the lab.
func linuxLifecycleCases(_ options: Options) -> [TestCase] {
    var cases: [TestCase] = []
    let all = [
        ("pci", false, 1), ("mmio", true, 1), ("mmio", false, 2), ("pci", true, 2), ("pci", true, 1), ("mmio", false, 1), ("pci", false, 2),
        ("mmio", true, 2),
    ]
    for (turn, (transport, packed, cpus)) in (options.complete ? all : Array(all.prefix(2))).enumerated() {
        let load = LoadedGuest(kernel: turn % 2 == 0 ? "6.12" : "6.1-cloud", transport: transport, packed: packed, cpus: cpus)
        cases.append(
            TestCase(name: "cycles: \(load.name)") { report in LoadedRun(load, options, report).run(cycles: options.complete ? 20 : 5) })
    }
    return cases
}

/// What such a guest is like.
struct LoadedGuest {
    let kernel: String
    let transport: String
    let packed: Bool
    let cpus: Int
    /// Who serves its disk, if that is one of the host's kernel.
    var disk: VdpaServer?
    /// Who serves disk and network over vhost-user, if they are not the VM's own.
    var backEnds = BackEnds.own

    enum BackEnds: String {
        case own
        /// Other processes of swvmm, started by somebody else.
        case ours
        /// The same for the network; qemu-storage-daemon for the disk.
        case others
    }

    var name: String {
        let served = backEnds == .own ? "" : ", back-ends of \(backEnds == .ours ? "swvmm" : "others")"
        return "\(disk.map { "\($0.rawValue), " } ?? "")\(transport), \(packed ? "packed" : "split"), \(cpus) vCPU, \(kernel)\(served)"
    }
}

/// One guest with a disk load, a TCP stream and a counter, through all its cycles.
final class LoadedRun {
    struct Failure: Error { let reason: String }

    /// How long the guest may take for anything, in milliseconds.
    private static let patience: Int64 = 180_000

    private let load: LoadedGuest
    private let options: Options
    private let report: Report
    private let scratch = Scratch("cycles")
    private let vmName = "cycles"
    private let tap = "swtest0"
    private var machine: RunningVM?
    private var disk: VdpaDisk?
    private var stream: NumberStream?
    /// The beginning of a line that the last process wrote before its end.
    private var rest = ""
    private var count = 0
    private var uptime = 0.0
    private var clock = 0
    private var ending: [String] = []
    /// Back-ends that are not the VM's own, by the device.
    private var servers: [String: ForeignServer] = [:]

    init(_ load: LoadedGuest, _ options: Options, _ report: Report) { (self.load, self.options, self.report) = (load, options, report) }

    func run(cycles: Int) {
        defer {
            machine?.kill()
            disk?.kill()
            _ = Command.shell("ip link del \(tap)")
            scratch.remove()
        }
        let begin = MonotonicTime.now
        do {
            try start()
            for cycle in 1...cycles { try check("asleep and awake, cycle \(cycle)") { try sleepAndWake() } }
            for cycle in 1...cycles { try check("saved, killed, restored, cycle \(cycle)") { try saveAndRestore(cycle) } }
            try check("a restored guest has the state that was saved, and so has its copy") { try saveTwice() }
            try check("a guest restored to real time has not lost any") { try restoreToRealTime() }
            try check("the guest ends well") { try finish() }
            try endDisk()
        } catch {
            report.note("cycles: \(load.name)", "stopped early: \((error as? Failure)?.reason ?? "\(error)")")
        }
        report.remark("cycles: \(load.name): \((MonotonicTime.now - begin) / 1000) s")
    }

    /// Kills processes of devices, `kills` times, while the guest works.
    func run(kills: Int) {
        defer {
            machine?.kill()
            storage?.end()
            _ = Command.shell("ip link del \(tap)")
            scratch.remove()
        }
        let begin = MonotonicTime.now
        do {
            // A foreign disk has a load of its own.
            verifies = load.backEnds == .own
            try start(isolation: "process", extra: ["\"maxRestarts\": 1000000"])
            try check("\(kills) processes of its devices killed") {
                for kill in 0..<kills {
                    // Disks most often: they have most to lose.
                    let disk = verifies ? "verified" : "data"
                    let device = ["data", "tap", disk, "console", disk, "rng"][kill % 6]
                    if let server = servers[device] {
                        try server.kill(whileBusy: kill % 3 != 0)
                        try server.restart()
                        continue
                    }
                    // The last one's follower may be on its way: an emulated host takes its time to start one.
                    let deadline = MonotonicTime.now + Self.patience
                    while Command.shell("pkill -9 -f 'device-process \(device)$'") == nil {
                        guard MonotonicTime.now < deadline else {
                            throw Failure(reason: "device \(device) has no process before kill \(kill)")
                        }
                        _ = usleep(5000)
                    }
                    // Anywhere between at once and some rounds of the load.
                    _ = usleep(UInt32(kill * 37 % 400) * 1000)
                    if kill % 5 == 4 {
                        try follow(2)
                        try checkStream(2)
                    }
                }
                try follow(5)
                try checkStream(3)
            }
            try check("the guest ends well") { try finish() }
        } catch {
            report.note("kills: \(load.name)", "stopped early: \((error as? Failure)?.reason ?? "\(error)")")
        }
        report.remark("kills: \(load.name): \((MonotonicTime.now - begin) / 1000) s")
    }

    /// Kills the VM's own process, and then its supervisor, while the guest works: nothing may be left, and the VM can be started again.
    func runIntoEnds() {
        let own = "swown0"
        defer {
            machine?.kill()
            _ = Command.shell("ip link del \(tap)")
            scratch.remove()
        }
        do {
            try start(
                isolation: "process",
                more: [
                    "\"id\": \"user\", \"type\": \"net\", \"backend\": \"user\"",
                    "\"id\": \"own\", \"type\": \"net\", \"backend\": { \"tap\": \"\(own)\" }",
                    "\"id\": \"second\", \"type\": \"console\", \"backend\": { \"socket\": \"second.sock\" }",
                ])
            for victim in ["[m]achine-process \(vmName) ", "[s]wvmm run --config \(scratch.path)/"] {
                try check("nothing is left of it when '\(victim)' is killed") {
                    guard let supervisor = machine?.processID else { throw Failure(reason: "there is no VM") }
                    let all = ["\(supervisor)"] + (Command.shell("pgrep -P \(supervisor)") ?? "").split(separator: "\n").map(String.init)
                    // The machine, seven devices.
                    guard all.count >= 9, pathExists("/sys/class/net/\(own)") else {
                        throw Failure(reason: "not all of it is there: \(all)")
                    }
                    guard Command.shell("pkill -9 -f '\(victim)'") != nil else { throw Failure(reason: "there is no such process") }
                    let deadline = MonotonicTime.now + Self.patience
                    while machine?.nextLine(before: deadline) != nil {}
                    let expected: ExitStatus = victim.hasPrefix("[m]achine") ? .exited(1) : .killed(SIGKILL)
                    guard machine?.status == expected else {
                        throw Failure(reason: "expected \(expected), found \(machine?.status.map { "\($0)" } ?? "no end")")
                    }
                    let look =
                        "for p in \(all.joined(separator: " ")); do [ ! -d /proc/$p ] || grep -q '^State:.Z' /proc/$p/status || echo $p; done;"
                        + " pgrep -x passt; ls -d /sys/class/net/\(own) 2>/dev/null; true"
                    while let left = Command.shell(look), !left.isEmpty {
                        guard MonotonicTime.now < deadline else { throw Failure(reason: "left behind: \(left)") }
                        _ = usleep(20_000)
                    }
                    if (try? UnixSocket.connect(to: "\(scratch.path)/second.sock")) != nil { throw Failure(reason: "somebody listens") }
                }
                // Locks, the tap, the sockets and the name are free.
                (stream, count, uptime, clock, rest) = (nil, 0, 0, 0, "")
                stream = try NumberStream(port: 9100)
                try begin()
            }
            try check("the guest ends well") { try finish() }
        } catch {
            report.note("kills: \(load.name)", "stopped early: \((error as? Failure)?.reason ?? "\(error)")")
        }
    }

    private func check(_ name: String, _ body: () throws -> Void) throws {
        do {
            try body()
            report.note("\(group): \(load.name): \(name)", nil)
        } catch {
            var context = machine?.history.suffix(12).map { $0 } ?? []
            context += disk?.complaints ?? []
            context += lines(machine?.complaints ?? "", last: 5).map { "stderr: \($0)" }
            context += lines(Command.shell("cat \(scratch.path)/serial.log") ?? "", last: 10).map { "serial: \($0)" }
            report.note(
                "\(group): \(load.name): \(name)", (error as? Failure)?.reason ?? (error as? PeerFailure)?.reason ?? "\(error)",
                context: context)
            throw error
        }
    }

    private var group: String { isKilling ? "kills" : load.disk == nil ? "cycles" : "vdpa" }
    private var isKilling = false
    /// Whether fio works on a disk beside the load.
    private var verifies = false
    private var storage: HeldStorage?

    private func start(isolation: String? = nil, extra: [String] = [], more devices: [String] = []) throws {
        isKilling = isolation != nil
        let prepared = "truncate -s 64M data.img && ip tuntap add \(tap) mode tap && ip link set \(tap) up"
        guard Command.shell("cd \(scratch.path) && \(prepared)") != nil else { throw Failure(reason: "failed: \(prepared)") }
        stream = try NumberStream(port: 9100)
        var place = "\"path\": \"data.img\""
        if let server = load.disk {
            let disk = try VdpaDisk(
                server, options, image: "\(scratch.path)/data.img", queues: load.cpus, packed: load.packed)
            self.disk = disk
            place = "\"backend\": { \"vhostVdpa\": \"\(try disk.node())\" }"
        }
        var vm = VMFile(kernel: "\(options.guests)/\(load.kernel)")
        vm.isolation = isolation ?? options.isolation
        vm.extra = extra
        vm.name = vmName
        vm.initrd = "\(options.guests)/\(load.kernel).initrd"
        vm.cpus = load.cpus
        vm.memory = "256M"
        vm.transport = load.transport
        vm.serial = "{ \"file\": \"serial.log\" }"
        vm.commandLine =
            "console=ttyS0 quiet panic=-1 swvmm.mode=script swvmm.console=hvc0 swvmm.end=load swvmm.transport=\(load.transport)"
        let ring = "\"packedRing\": \(load.packed)"
        try startServers()
        func backEnd(_ device: String, own: String) -> String {
            servers[device].map { "\"backend\": { \"vhostUser\": \(quote($0.socket)) }" } ?? own
        }
        if load.backEnds == .others { vm.commandLine += " swvmm.disk=vhost_user_blk" }
        vm.devices = [
            "\"id\": \"console\", \"type\": \"console\", \(ring)",
            "\"id\": \"data\", \"type\": \"block\", \(backEnd("data", own: place)), \"queues\": \(load.cpus), \(ring)",
            "\"id\": \"tap\", \"type\": \"net\", \(backEnd("tap", own: "\"backend\": { \"tap\": \"\(tap)\" }")), \"mac\": \"52:54:00:00:00:01\", \(ring)",
            "\"id\": \"rng\", \"type\": \"rng\", \(ring)",
        ]
        if verifies {
            vm.commandLine += " swvmm.verify=yes"
            // Slow, so that requests are under way when their process ends.
            let storage = try HeldStorage(pulse: 100)
            self.storage = storage
            vm.devices += [
                "\"id\": \"verified\", \"type\": \"block\", \"path\": \"\(storage.path)\", \"direct\": true, \"queues\": \(load.cpus), \(ring)",
                "\"id\": \"fio\", \"type\": \"block\", \"path\": \(quote("\(options.guests)/fio.ext4")), \"readOnly\": true, \(ring)",
            ]
        }
        vm.devices += devices
        scratch.write("vm.json", vm.text)
        try begin()
    }

    private func begin() throws {
        machine = try RunningVM(swvmm: options.swvmm, configuration: "\(scratch.path)/vm.json")
        try check("the load runs") {
            try follow(10)
            try checkStream()
        }
    }

    /// The disk's server, if there is one, has nothing to complain of, and its image is clean.
    private func endDisk() throws {
        guard let disk else { return }
        try check("its disk's server ends well, with a clean disk") {
            try disk.end()
            guard Command.shell("e2fsck -fn \(scratch.path)/data.img") != nil else { throw Failure(reason: "the image is not clean") }
        }
    }

    private func startServers() throws {
        switch load.backEnds {
        case .own: return
        case .ours:
            servers["data"] = try .ours(
                options, "block", scratch, "path=\(scratch.path)/data.img", "serial=data", "queues=\(load.cpus)",
                "packedRing=\(load.packed)")
        case .others: servers["data"] = try .storageDaemon(scratch, size: "64M", queues: load.cpus)
        }
        servers["tap"] = try .ours(options, "net", scratch, "backend.tap=\(tap)", "packedRing=\(load.packed)")
    }

    private func sleepAndWake() throws {
        try command(["sleep", vmName])
        try drain()
        try command(["wake", vmName])
        try follow(5)
        try checkStream(3)
    }

    private func saveAndRestore(_ cycle: Int) throws {
        let directory = "\(scratch.path)/s\(cycle)"
        try command(["snapshot", vmName, directory, "--then", "sleep"])
        try drain()
        machine?.kill()
        machine = try RunningVM(program: options.swvmm, arguments: ["restore", directory])
        try follow(5)
        _ = Command.run(["rm", "-rf", "\(scratch.path)/s\(cycle - 1)"])
    }

    /// Saves, restores asleep and saves again: nothing may differ, neither in a field nor in a byte. Then the guest goes on.
    private func saveTwice() throws {
        let (first, second) = ("\(scratch.path)/a", "\(scratch.path)/c")
        try command(["snapshot", vmName, first, "--then", "sleep"])
        try drain()
        machine?.kill()
        machine = try RunningVM(program: options.swvmm, arguments: ["restore", first, "--asleep"])
        let deadline = MonotonicTime.now + Self.patience
        while (try? command(["info", vmName])) == nil {
            guard MonotonicTime.now < deadline else { throw Failure(reason: "the restored VM does not answer") }
            _ = usleep(20_000)
        }
        try command(["snapshot", vmName, second])
        try command(["snapshot", "verify", second])
        let comparison = Command.run([options.swvmm, "snapshot", "diff", first, second], seconds: 120)
        guard comparison.succeeded else { throw Failure(reason: "the two differ: \(comparison.output.prefix(2000))") }
        try command(["wake", vmName])
        try follow(5)
        _ = Command.run(["rm", "-rf", first, second])
    }

    /// How far the guest's clock is behind the host's, in seconds.
    private func lag() throws -> Int {
        try follow(2)
        guard let now = Command.shell("date +%s").flatMap({ Int($0) }) else { throw Failure(reason: "the host has no clock") }
        return now - clock
    }

    private func restoreToRealTime() throws {
        let before = try lag()
        let directory = "\(scratch.path)/realtime"
        try command(["snapshot", vmName, directory, "--then", "sleep"])
        try drain()
        machine?.kill()
        _ = sleep(15)
        machine = try RunningVM(program: options.swvmm, arguments: ["restore", directory, "--clock", "realtime"])
        let after = try lag()
        // Without the option it would be 15 s and more; emulated guests are late by some.
        guard after - before < 8 else { throw Failure(reason: "the guest was \(before) s behind the host, and is \(after) s behind now") }
    }

    private func finish() throws {
        guard machine?.type("stop\n") == true else { throw Failure(reason: "the console takes no input") }
        let deadline = MonotonicTime.now + Self.patience
        while let line = machine?.nextLine(before: deadline) {
            try take(line)
            if line == "END" { break }
        }
        guard ending.contains("CHECK fsck ok") else { throw Failure(reason: "the file system is not clean: \(ending)") }
        if verifies {
            // Blocks that were read again, and blocks that were written.
            let counts = (ending.first { $0.hasPrefix("CHECK verified ") } ?? "").split(separator: " ").compactMap { Int($0) }
            guard counts.count == 2, counts.allSatisfy({ $0 > 0 }) else { throw Failure(reason: "fio has verified nothing: \(ending)") }
            report.remark("\(group): \(load.name): fio wrote \(counts[1]) blocks and verified \(counts[0])")
        }
        // Linux 6.1 has no driver for the VM Generation ID.
        guard isKilling || load.kernel.hasPrefix("6.1-") || ending.contains(where: { $0.hasPrefix("FORKS ") && $0 != "FORKS 0" }) else {
            throw Failure(reason: "the guest has not noticed that it was restored: \(ending)")
        }
        guard machine?.waitForEnd(before: deadline) == .exited(0) else {
            throw Failure(reason: "expected exit code 0, found \(machine?.status.map { "\($0)" } ?? "none")")
        }
    }

    private func command(_ arguments: [String]) throws {
        let result = Command.run([options.swvmm] + arguments, seconds: 120)
        guard result.succeeded else {
            throw Failure(
                reason:
                    "'swvmm \(arguments.joined(separator: " "))' ended with \(result.status.map { "\($0)" } ?? "nothing"): \(result.errors)"
            )
        }
    }

    /// Follows the counter until `more` numbers have come.
    private func follow(_ more: Int) throws {
        let goal = count + more
        let deadline = MonotonicTime.now + Self.patience
        while count < goal {
            guard let line = machine?.nextLine(before: deadline) else {
                throw Failure(reason: "expected count \(goal), got as far as \(count): \(machine?.status.map { "\($0)" } ?? "silent")")
            }
            try take(line)
        }
    }

    /// Takes what a VM that sleeps has said before; nothing more may come.
    private func drain() throws {
        while let line = machine?.nextLine(before: MonotonicTime.now + 200) { try take(line) }
        rest += machine?.takeRest() ?? ""
    }

    private func take(_ line: String) throws {
        let whole = rest + line
        rest = ""
        let words = whole.split(separator: " ").map(String.init)
        switch words.first {
        case "COUNT" where words.count == 4:
            guard let number = Int(words[1]), let up = Double(words[2]), let date = Int(words[3]) else { break }
            // What was on its way when the console's process was killed may come twice, or not at all: it is a line, not a disk.
            let expected = isKilling ? count...count + 2 : count + 1...count + 1
            guard expected.contains(number) else { throw Failure(reason: "expected count \(count + 1), found \(number)") }
            guard up >= uptime, date >= clock else {
                throw Failure(reason: "time went back at count \(number): from \(uptime) s, date \(clock) to \(up) s, date \(date)")
            }
            (count, uptime, clock) = (number, up, date)
        case "HOST" where words.count == 2:
            let answer = Command.shell("ip addr replace 10.7.0.1/24 dev \(tap); ip link set \(tap) up && echo up") ?? "down"
            if machine?.type("\(answer)\n") != true { throw Failure(reason: "the console takes no input") }
        case "BAD": throw Failure(reason: whole)
        case "CHECK", "FORKS", "END", "DISK": ending.append(whole)
        default: break
        }
    }

    /// Numbers go to the guest and come back, in order.
    private func checkStream(_ count: Int = 10) throws {
        guard let stream else { return }
        if let problem = stream.exchange(count, milliseconds: Self.patience) { throw Failure(reason: problem) }
    }
}

/// A TCP connection from a guest that returns every line.
private final class NumberStream {
    private let child: ChildProcess
    private let input: ByteStream
    private let output: ByteStream
    private var number = 0

    init(port: Int) throws(SystemError) {
        let toPeer = try Pipe()
        let fromPeer = try Pipe()
        child = try ChildProcess(
            path: findProgram("socat") ?? "/usr/bin/socat", arguments: ["socat", "STDIO", "TCP-LISTEN:\(port),reuseaddr"],
            descriptors: [
                InheritedDescriptor(toPeer.reader.rawValue, as: 0), InheritedDescriptor(fromPeer.writer.rawValue, as: 1),
                InheritedDescriptor(2, as: 2),
            ])
        input = try ByteStream(try toPeer.writer.duplicate())
        output = try ByteStream(try fromPeer.reader.duplicate())
    }

    /// Sends numbers and waits for each to come back; says what went wrong.
    func exchange(_ count: Int, milliseconds: Int64) -> String? {
        let deadline = MonotonicTime.now + milliseconds
        for _ in 0..<count {
            number += 1
            guard input.write("\(number)\n") else { return "the TCP stream takes no more at line \(number)" }
            while true {
                if let line = output.takeLine() {
                    if line == "\(number)" { break }
                    return "the TCP stream gave '\(line)' instead of '\(number)'"
                }
                guard output.isOpen, MonotonicTime.now < deadline else { return "the TCP stream broke at line \(number)" }
                try? ByteStream.wait(for: [output], milliseconds: deadline - MonotonicTime.now)
            }
        }
        return nil
    }
}
