import Glibc
import Host

/// A Linux guest with a disk to write, one to read, a tap, passt, entropy and a console, all of which it tries.
struct Boot {
    var kernel: String
    var transport: String
    var cpus: Int
    /// The kinds of device that get packed rings.
    var packed: Set<Kind> = []
    var console: RunningVM.Console = .pipe
    /// Whether the tap stands there beforehand, or swvmm makes it.
    var tapExists = false
    var engine = "auto"
    /// For how long the data disk's threads look for requests before they sleep, in microseconds.
    var poll = 0
    /// Whether the suite presses the power button, or the guest powers off.
    var powerButton = false

    /// The number is the device's in the specification (virtio 1.3, 5).
    enum Kind: Int, CaseIterable { case net = 1, block, console, rng }

    var name: String {
        let rings = packed.isEmpty ? "split" : packed.count == Kind.allCases.count ? "packed" : "split and packed"
        return "\(transport), \(cpus) vCPU, \(rings), \(kernel)"
    }

    static let representative = [
        Boot(kernel: "6.12", transport: "pci", cpus: 2, packed: [.net, .rng], console: .socket, powerButton: true),
        Boot(
            kernel: "6.1-cloud", transport: "mmio", cpus: 1, packed: [.block, .console], console: .pty, tapExists: true, engine: "sync",
            poll: 100),
    ]

    /// Everything with everything; what is not a dimension of its own takes turns.
    static var complete: [Boot] {
        var boots: [Boot] = []
        for kernel in ["6.1-cloud", "6.12", "6.1-cloud-elf"] {
            for transport in ["pci", "mmio"] {
                for cpus in [1, 2] {
                    for packed in [[], Set(Kind.allCases)] {
                        let turn = boots.count
                        boots.append(
                            Boot(
                                kernel: kernel, transport: transport, cpus: cpus, packed: packed,
                                console: RunningVM.Console.allCases[turn % 3], tapExists: turn % 4 < 2,
                                engine: ["auto", "auto", "sync"][turn % 3], poll: turn % 5 == 0 ? 100 : 0, powerButton: turn % 2 == 1))
                    }
                }
            }
        }
        return boots
    }
}

func bootCases(_ options: Options) -> [TestCase] {
    (options.complete ? Boot.complete : Boot.representative).map { boot in
        TestCase(name: boot.name) { report in
            let mark = report.mark
            guard !BootRun(boot, options, report).run(mayRepeat: BootRun.emulatorBreaks(boot)) else { return }
            report.withdraw(since: mark, "\(boot.name): the guest's kernel died as it does in the lab's emulator; once more")
            _ = BootRun(boot, options, report).run(mayRepeat: false)
        }
    }
}

/// One such boot while it runs.
final class BootRun {
    private static let checks = [
        "processors", "clock", "transport", "rings", "entropy", "console", "read_only", "write_zeroes", "discard", "file_system", "fstrim",
        "tap", "user",
    ]
    private static let seconds: Int64 = 900
    private let boot: Boot
    private let options: Options
    private let report: Report
    private let scratch: Scratch
    private let tap = "swtest0"
    private var checks: [String] { options.checks.isEmpty ? Self.checks : options.checks }
    private var transferSum = ""
    private var guestSum = ""

    init(_ boot: Boot, _ options: Options, _ report: Report) {
        (self.boot, self.options, self.report) = (boot, options, report)
        scratch = Scratch("boot")
    }

    /// Whether such a guest may die of the lab's emulator, which can keep a translation of code that Linux has patched: with one vCPU none has.
    static func emulatorBreaks(_ boot: Boot) -> Bool { environmentVariable("SWVMM_LAB") != nil && boot.cpus > 1 }

    /// Runs it; false when the guest's kernel died and the boot may be repeated for that.
    func run(mayRepeat: Bool) -> Bool {
        defer { scratch.remove() }
        let begin = MonotonicTime.now
        prepare()
        defer { if boot.tapExists { _ = Command.shell("ip link del \(tap)") } }
        do throws(SystemError) {
            let peers = try Peers(directory: scratch.path)
            let machine = try RunningVM(
                swvmm: options.swvmm, configuration: scratch.write("vm.json", configuration.text), console: boot.console,
                socketPath: "\(scratch.path)/console.sock")
            guard converse(machine, deadline: begin + Self.seconds * 1000, mayRepeat: mayRepeat) else { return false }
            machine.kill()
            checkTransfers(peers)
        } catch {
            note("starts", "\(error)")
        }
        checkImage()
        checkRemains()
        report.remark("\(boot.name): \((MonotonicTime.now - begin) / 1000) s")
        return true
    }

    private func note(_ check: String, _ problem: String?, context: [String] = []) {
        report.note("\(boot.name): \(check)", problem, context: context)
    }

    private func prepare() {
        let commands = [
            "truncate -s 96M data.img", "printf unspoilt >tools.img && truncate -s 1M tools.img",
            // Random, so that nothing on the way can be right by chance; the same for all boots.
            "[ -e /tmp/swvmm-suite.transfer ] || head -c 67108864 /dev/urandom >/tmp/swvmm-suite.transfer",
            // For passt to reach and to be allowed to ping: it passes pings on as they are, also to its own gateway.
            "echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range && ip addr replace 198.51.100.1/32 dev lo",
            boot.tapExists
                ? "ip tuntap add \(tap) mode tap \(pairs > 1 ? "multi_queue" : "") && ip link set \(tap) up" : "true",
        ]
        for command in commands where Command.shell("cd \(scratch.path) && \(command)") == nil { note("prepares", "failed: \(command)") }
        transferSum = Command.shell("sha1sum </tmp/swvmm-suite.transfer | cut -d ' ' -f 1") ?? ""
    }

    private var pairs: Int { boot.cpus }

    private var configuration: VMFile {
        func packed(_ kind: Boot.Kind) -> String { "\"packedRing\": \(boot.packed.contains(kind))" }
        var vm = VMFile(kernel: "\(options.guests)/\(boot.kernel)")
        vm.isolation = options.isolation
        vm.initrd = "\(options.guests)/\(boot.kernel).initrd"
        vm.cpus = boot.cpus
        vm.transport = boot.transport
        vm.serial = "{ \"file\": \"serial.log\" }"
        vm.commandLine =
            "console=ttyS0 quiet panic=-1 swvmm.mode=script swvmm.console=hvc0 swvmm.checks=\(checks.joined(separator: ","))"
            + " swvmm.end=\(boot.powerButton ? "wait" : "poweroff") swvmm.cpus=\(boot.cpus) swvmm.pairs=\(pairs)"
            + " swvmm.transport=\(boot.transport) swvmm.packed=\(boot.packed.map { "\($0.rawValue)" }.joined(separator: ","))"
        let console =
            switch boot.console {
            case .pipe: "\"stdio\""
            case .pty: "\"pty\""
            case .socket: "{ \"socket\": \"console.sock\" }"
            }
        let net = "\"type\": \"net\", \(packed(.net))"
        vm.devices = [
            "\"id\": \"console\", \"type\": \"console\", \"backend\": \(console), \(packed(.console))",
            "\"id\": \"data\", \"type\": \"block\", \"path\": \"data.img\", \"queues\": \(boot.cpus), \"engine\": \"\(boot.engine)\", \"pollMicroseconds\": \(boot.poll), \(packed(.block))",
            "\"id\": \"tools\", \"type\": \"block\", \"path\": \"tools.img\", \"readOnly\": true, \(packed(.block))",
            "\"id\": \"tap\", \(net), \"backend\": { \"tap\": \"\(tap)\" }, \"queuePairs\": \(pairs), \"mac\": \"52:54:00:00:00:01\"",
            "\"id\": \"user\", \(net), \"backend\": \"user\", \"mac\": \"52:54:00:00:00:02\"",
            "\"id\": \"rng\", \"type\": \"rng\", \(packed(.rng))",
        ]
        vm.extra = ["\"shutdownTimeout\": 60"]
        return vm
    }

    /// Listens to the guest until its end: notes what it found, answers what it asks. False when its kernel died and the boot may be repeated.
    private func converse(_ machine: RunningVM, deadline: Int64, mayRepeat: Bool) -> Bool {
        var missing = checks
        var echoed = false
        while let line = machine.nextLine(before: deadline) {
            if line == Self.typed { echoed = true }
            let words = line.split(separator: " ").map(String.init)
            switch words.first {
            case "CHECK" where words.count >= 3:
                missing.removeAll { $0 == words[1] }
                note(words[1], words[2] == "ok" ? nil : words[3...].joined(separator: " "))
            case "HOST" where words.count == 2:
                if !machine.type("\(answer(to: words[1]))\n") { note("types", "the console does not take input") }
            case "SUM" where words.count == 2: guestSum = words[1]
            case "WAITING": machine.signal(SIGTERM)
            default: break
            }
        }
        var context = machine.history.suffix(15).map { $0 }
        context += lines(machine.complaints, last: 5).map { "stderr: \($0)" }
        context += lines(Command.shell("cat \(scratch.path)/serial.log") ?? "", last: 10).map { "serial: \($0)" }
        // A panic, or a triple fault.
        if mayRepeat, machine.status == .exited(81) || machine.status == .exited(82) {
            for line in context { report.remark("| \(line)") }
            return false
        }
        for check in missing { note(check, "the guest did not come so far") }
        note("hvc0 echoes", echoed ? nil : "the guest's terminal did not echo")
        let end = machine.status.map { "\($0)" } ?? "none after \(Self.seconds) s"
        note(
            boot.powerButton ? "power button" : "power-off", machine.status == .exited(0) ? nil : "expected exit code 0, found \(end)",
            context: context)
        return true
    }

    private static let typed = "knock, knock"

    private func answer(to question: String) -> String {
        switch question {
        case "time": return Command.shell("date +%s") ?? ""
        case "blocks": return Command.shell("echo $(($(stat -c %b \(scratch.path)/data.img) / 2))") ?? ""
        case "sum": return transferSum
        case "returned":
            // The last bytes may still be on their way through the peer.
            let same = "cmp -s /tmp/swvmm-suite.transfer \(scratch.path)/user.back"
            return Command.shell("for i in 1 2 3 4 5; do \(same) && exec echo whole; sleep 1; done; echo not whole") ?? ""
        case "type": return Self.typed
        case "tap": return Command.shell("ip addr add 10.7.0.1/24 dev \(tap); ip link set \(tap) up && echo up") ?? "down"
        default: return "?"
        }
    }

    private func checkTransfers(_ peers: Peers) {
        for name in ["tap", "user"] {
            let same = Command.shell("cmp /tmp/swvmm-suite.transfer \(scratch.path)/\(name).back") != nil
            note("64 MiB there and back: \(name)", same ? nil : "what came back differs from what was sent")
        }
    }

    /// The image as this side sees it.
    private func checkImage() {
        let place = scratch.path
        note("image: file system is clean", Command.shell("e2fsck -fn \(place)/data.img") != nil ? nil : "e2fsck finds errors")
        let sum = Command.shell(
            "mkdir \(place)/out && debugfs -R 'rdump /numbers /busybox /many \(place)/out' \(place)/data.img && cd \(place)/out"
                + " && LC_ALL=C sha256sum numbers busybox many/* | sha256sum | cut -d ' ' -f 1")
        note(
            "image: checksums",
            sum == guestSum && !guestSum.isEmpty ? nil : "the guest says '\(guestSum)', the image '\(sum ?? "unreadable")'")
        let unspoilt = Command.shell("head -c 8 \(place)/tools.img") == "unspoilt"
        note("image: read-only disk", unspoilt ? nil : "it has changed")
    }

    /// What must not be there any more.
    private func checkRemains() {
        var remains: [String] = []
        if !boot.tapExists, pathExists("/sys/class/net/\(tap)") { remains.append("the tap \(tap)") }
        if pathExists("\(scratch.path)/console.sock") { remains.append("the console's socket") }
        if Command.shell("pgrep -x passt") != nil { remains.append("passt") }
        note("leaves nothing behind", remains.isEmpty ? nil : remains.joined(separator: ", "))
    }
}

/// Who the guest transfers data with: for each network one that sends 64 MiB to whoever connects, and one that keeps what the last one sends.
/// They end with this object.
final class Peers {
    private final class Peer {
        private let process: ChildProcess

        init(_ direction: String, port: Int, _ file: String) throws(SystemError) {
            process = try ChildProcess(
                path: findProgram("socat") ?? "/usr/bin/socat",
                arguments: ["socat", direction, "-b", "262144", "TCP-LISTEN:\(port),reuseaddr,fork", "OPEN:\(file)"])
        }
    }

    private var all: [Peer] = []

    init(directory: String) throws(SystemError) {
        for (name, port) in [("tap", 9001), ("user", 9003)] {
            all.append(try Peer("-U", port: port, "/tmp/swvmm-suite.transfer"))
            all.append(try Peer("-u", port: port + 1, "\(directory)/\(name).back,creat,trunc"))
        }
    }
}
