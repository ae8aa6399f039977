import Host

/// One guest with a disk load, a TCP stream and a counter: how it is started, followed and ended. What is done to it meanwhile stands with the cases.
final class LoadedRun {
    struct Failure: Error { let reason: String }

    /// How long the guest may take for anything, in milliseconds.
    static let patience: Int64 = 180_000

    let load: LoadedGuest
    let options: Options
    let report: Report
    let scratch = Scratch("cycles")
    let vmName = "cycles"
    private let tap = "swtest0"
    var machine: RunningVM?
    private(set) var disk: VdpaDisk?
    private var stream: NumberStream?
    /// The beginning of a line that the last process wrote before its end.
    private var rest = ""
    private var count = 0
    private var uptime = 0.0
    private(set) var clock = 0
    private var ending: [String] = []
    /// Back-ends that are not the VM's own, by the device.
    private(set) var servers: [String: ForeignServer] = [:]

    init(_ load: LoadedGuest, _ options: Options, _ report: Report) { (self.load, self.options, self.report) = (load, options, report) }

    func check(_ name: String, _ body: () throws -> Void) throws {
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
    var verifies = false
    private(set) var storage: HeldStorage?

    func start(isolation: String? = nil, extra: [String] = [], more devices: [String] = []) throws {
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

    /// Starts the VM again, of which nothing is left.
    func beginAnew() throws {
        (stream, count, uptime, clock, rest) = (nil, 0, 0, 0, "")
        stream = try NumberStream(port: 9100)
        try begin()
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

    func finish() throws {
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

    func command(_ arguments: [String]) throws {
        let result = Command.run([options.swvmm] + arguments, seconds: 120)
        guard result.succeeded else {
            throw Failure(
                reason:
                    "'swvmm \(arguments.joined(separator: " "))' ended with \(result.status.map { "\($0)" } ?? "nothing"): \(result.errors)"
            )
        }
    }

    /// Follows the counter until `more` numbers have come.
    func follow(_ more: Int) throws {
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
    func drain() throws {
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
    func checkStream(_ count: Int = 10) throws {
        guard let stream else { return }
        if let problem = stream.exchange(count, milliseconds: Self.patience) { throw Failure(reason: problem) }
    }

    /// Ends all that this run has started.
    func end() {
        machine?.kill()
        disk?.kill()
        storage?.end()
        _ = Command.shell("ip link del \(tap)")
        scratch.remove()
    }
}
