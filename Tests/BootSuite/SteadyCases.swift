import Glibc
import Host

/// Whether anything concerns the processes of the machine and of the supervisor while blocks and frames move (PCI, MSI-X): counted, as root, in
/// the lab.
func steadyCases(_ options: Options) -> [TestCase] {
    guard options.complete, options.isolation != "none" else { return [] }
    return [false, true].map { packed in
        let name = "boot: steady state, pci, \(packed ? "packed" : "split")"
        return TestCase(name: name) { report in
            let scratch = Scratch("steady")
            defer { scratch.remove() }
            do {
                let run = try SteadyRun(options, scratch, packed: packed)
                try run.measure({ report.note("\(name): \($0)", nil) }, remark: report.remark)
            } catch {
                let failure = error as? PeerFailure
                report.note(name, failure?.reason ?? "\(error)", context: failure?.context ?? [])
            }
        }
    }
}

/// A guest that reads its disk and is pinged, and what the kernel counts meanwhile.
private final class SteadyRun {
    private static let requests = 2000
    private static let tap = "swsteady0"
    /// Something is always going on in a guest, but not for each request.
    private static let most = 20

    private let vm: RunningVM
    private let swvmm: String
    private let trace = "/sys/kernel/debug/tracing"

    init(_ options: Options, _ scratch: Scratch, packed: Bool) throws {
        swvmm = options.swvmm
        var file = VMFile(kernel: "\(options.guests)/6.12")
        file.isolation = "process"
        file.name = "steady"
        file.initrd = "\(options.guests)/6.12.initrd"
        file.memory = "256M"
        file.commandLine = "console=ttyS0 quiet panic=-1 swvmm.mode=script swvmm.console=hvc0 swvmm.end=steady"
        let ring = "\"packedRing\": \(packed)"
        let socket = "\(scratch.path)/console.sock"
        file.devices = [
            // Its process takes what is typed from the socket itself.
            "\"id\": \"console\", \"type\": \"console\", \"backend\": { \"socket\": \"\(socket)\" }, \(ring)",
            "\"id\": \"data\", \"type\": \"block\", \"path\": \"data.img\", \(ring)",
            "\"id\": \"tap\", \"type\": \"net\", \"backend\": { \"tap\": \"\(Self.tap)\" }, \"mac\": \"52:54:00:00:00:01\", \(ring)",
        ]
        let prepared = "head -c 16M /dev/urandom >data.img"
        guard Command.shell("cd \(scratch.path) && \(prepared)") != nil else { throw PeerFailure("failed: \(prepared)") }
        let configuration = scratch.write("vm.json", file.text)
        vm = try RunningVM(swvmm: options.swvmm, configuration: configuration, console: .socket, socketPath: socket)
    }

    deinit { vm.kill() }

    func measure(_ note: PeerNote, remark: (String) -> Void) throws {
        _ = try follow("HOST")
        guard Command.shell("ip addr replace 10.7.0.1/24 dev \(Self.tap) && ip link set \(Self.tap) up") != nil else {
            throw failure("the tap cannot be used")
        }
        try type("up")
        _ = try follow("READY")
        // Whatever happens once has happened.
        _ = try load(disk: 200, pings: 20)
        pause(milliseconds: 3000)
        let machine = try process("[m]achine-process steady ")
        let on = "cd \(trace) && echo 0 >tracing_on && echo >trace && echo 1 >events/kvm/kvm_userspace_exit/enable && echo 1 >tracing_on"
        guard Command.shell(on) != nil else { throw failure("the kernel does not trace kvm_userspace_exit") }
        let before = try [vm.processID, machine].map { try Self.switches(of: $0) }
        let (reads, frames) = try load(disk: Self.requests, pings: Self.requests)
        let after = try [vm.processID, machine].map { try Self.switches(of: $0) }
        let left = try exits()
        // Who counts nothing has to show that it can: falling asleep takes the processor out of the guest, and messages.
        for command in ["sleep", "wake"] where !Command.run([swvmm, command, "steady"]).succeeded {
            throw failure("it does not \(command)")
        }
        let last = try Self.switches(of: machine)
        guard try exits().count > left.count, after[1].contains(where: { last[$0.key, default: 0] > $0.value }) else {
            throw failure("nothing is counted when the VM falls asleep")
        }
        _ = Command.shell("echo 0 >\(trace)/events/kvm/kvm_userspace_exit/enable")
        guard reads >= Self.requests, frames >= 2 * Self.requests else {
            throw failure("expected \(Self.requests) requests and twice as many frames, found \(reads) and \(frames)")
        }
        let all = reads + frames
        remark("\(reads) requests of the disk, \(frames) frames")
        let exits = left.count
        remark("to the machine's process: \(exits), \(perThousand(exits, all)) for 1000 requests and frames")
        for line in left { remark("  \(line)") }
        var woken = 0
        for (name, (old, new)) in zip(["supervisor", "machine's process"], zip(before, after)) {
            let changes = new.map { ($0.key, $0.value - old[$0.key, default: 0]) }.filter { $0.1 > 0 }.sorted { $0.0 < $1.0 }
            let sum = changes.reduce(0) { $0 + $1.1 }
            woken += sum
            let who = changes.map { "\($0.0) \($0.1)" }.joined(separator: ", ")
            remark("threads of the \(name) woken: \(sum), \(perThousand(sum, all)) for 1000\(who.isEmpty ? "" : ": \(who)")")
        }
        guard exits + woken <= Self.most else {
            throw failure("expected at most \(Self.most) exits and wake-ups, found \(exits + woken) for \(all) requests and frames")
        }
        note("\(exits) exits and \(woken) wake-ups for \(reads) requests and \(frames) frames")
        try type("stop")
        while vm.nextLine(before: MonotonicTime.now + peerPatience) != nil {}
    }

    /// Has the guest read, and answer pings: how many requests and frames that were.
    private func load(disk requests: Int, pings: Int) throws -> (requests: Int, frames: Int) {
        try type("\(requests)")
        let reads = try follow("READ").last.flatMap { Int($0) } ?? 0
        let before = Self.frames()
        guard Command.shell("ping -q -A -c \(pings) -W 10 10.7.0.2", seconds: 120) != nil else {
            throw failure("the guest answers no pings")
        }
        return (reads, Self.frames() - before)
    }

    /// Frames that went through the tap.
    private static func frames() -> Int {
        let counts = Command.shell("cat /sys/class/net/\(tap)/statistics/[rt]x_packets") ?? ""
        return counts.split(separator: "\n").compactMap { Int($0) }.reduce(0, +)
    }

    /// How often each thread of a process has waited and been woken, but for the virtual processors, which wait in the kernel for their guest.
    private static func switches(of process: Int32) throws -> [String: Int] {
        let script = "cd /proc/\(process)/task && awk '/^Name/ { n = $2 } /^voluntary/ { print FILENAME, n, $2 }' */status"
        guard let text = Command.shell(script), !text.isEmpty else { throw PeerFailure("process \(process) cannot be looked at") }
        var counts: [String: Int] = [:]
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 3, !words[1].hasPrefix("vcpu"), let count = Int(words[2]) else { continue }
            counts["\(words[1]) (\(words[0].prefix { $0 != "/" }))"] = count
        }
        return counts
    }

    /// Why KVM_RUN has returned, each time: a line is "THREAD-PID [CPU] FLAGS TIME: kvm_userspace_exit: reason KVM_EXIT_IO (2)".
    private func exits() throws -> [String] {
        guard let text = Command.shell("sed -n 's/.*kvm_userspace_exit: //p' \(trace)/trace") else { throw failure("there is no trace") }
        return text.split(separator: "\n").map(String.init)
    }

    private func process(_ pattern: String) throws -> Int32 {
        guard let found = Command.shell("pgrep -f '\(pattern)'").flatMap({ Int32($0) }) else { throw failure("there is no '\(pattern)'") }
        return found
    }

    private func perThousand(_ count: Int, _ all: Int) -> String {
        let hundredths = count * 100_000 / max(all, 1)
        return "\(hundredths / 100).\(hundredths % 100 / 10)\(hundredths % 10)"
    }

    private func type(_ text: String) throws {
        guard vm.type("\(text)\n") else { throw failure("the console takes no input") }
    }

    private func follow(_ wanted: String) throws -> [String] {
        let deadline = MonotonicTime.now + peerPatience
        while let line = vm.nextLine(before: deadline) {
            let words = line.split(separator: " ").map(String.init)
            if words.first == wanted { return words }
        }
        throw failure("waited for '\(wanted)'")
    }

    private func failure(_ reason: String) -> PeerFailure {
        PeerFailure(reason, context: vm.history.suffix(10) + lines(vm.complaints))
    }
}
