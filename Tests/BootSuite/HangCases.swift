import Glibc
import Host

/// Processes of devices that are there and do nothing, as SIGSTOP leaves them: the guest has brought each device to life, so that each is asked
/// when the VM sleeps, is saved or ends.
func hangCases(_ options: Options) -> [TestCase] {
    HangingVM.devices.flatMap { device in
        [
            hangCase(options, "\(device) hangs when the VM sleeps, and when it is saved") { vm, scratch in
                let first = try HangingVM.hang(device, scratch)
                try vm.command("sleep", vm.name)
                let second = try JailedVM.process(of: device, scratch, otherThan: first)
                try vm.command("wake", vm.name)
                try vm.expectComplaint(HangingVM.restarted(device, first, second))
                try HangingVM.hang(second)
                try vm.command("snapshot", vm.name, "\(scratch.path)/hung", "--then", "wake")
                let third = try JailedVM.process(of: device, scratch, otherThan: second)
                try vm.expectComplaint(HangingVM.restarted(device, second, third))
                try vm.command("snapshot", "verify", "\(scratch.path)/hung")
                try vm.watch(3)
                try JailedVM.expectGone([first, second])
            },
            hangCase(options, "\(device) hangs when the VM is stopped", extra: ["\"shutdownTimeout\": 1"]) { vm, scratch in
                let all = try HangingVM.processes(scratch)
                let process = try HangingVM.hang(device, scratch)
                try vm.command("stop", vm.name)
                try HangingVM.expectEnd(.exited(83), of: vm, because: "device \"\(device)\": process \(process) did not answer in time")
                try HangingVM.expectNothing(all, scratch)
            },
        ]
    } + [
        hangCase(options, "everything hangs when the VM is stopped", extra: ["\"shutdownTimeout\": 1"]) { vm, scratch in
            let all = try HangingVM.processes(scratch)
            let hanging = try HangingVM.devices.map { ($0, try HangingVM.hang($0, scratch)) }
            try vm.command("stop", vm.name)
            let (device, process) = hanging[0]
            try HangingVM.expectEnd(.exited(83), of: vm, because: "device \"\(device)\": process \(process) did not answer in time")
            for (device, process) in hanging where vm.complaints.firstRange(of: "\"\(device)\": process \(process) did not answer") == nil {
                throw TickingVM.Failure("nothing was said of device \(device), process \(process): \(vm.complaints)")
            }
            try HangingVM.expectNothing(all, scratch)
        },
        hangCase(options, "disk hangs when the guest ends the VM", words: "ticks=200") { vm, scratch in
            let all = try HangingVM.processes(scratch)
            let process = try HangingVM.hang("disk", scratch)
            try HangingVM.expectEnd(.exited(0), of: vm, because: "device \"disk\": process \(process) did not answer in time")
            try HangingVM.expectNothing(all, scratch)
        },
        hangCase(options, "onCrash: stop, and disk hangs when the VM sleeps", extra: ["\"onCrash\": \"stop\""]) { vm, scratch in
            let all = try HangingVM.processes(scratch)
            let process = try HangingVM.hang("disk", scratch)
            _ = Command.run([options.swvmm, "sleep", vm.name])
            let why = "Device \"disk\" has failed: process \(process) did not answer in time"
            try HangingVM.expectEnd(.exited(1), of: vm, because: why)
            try HangingVM.expectNothing(all, scratch)
        },
        hangCase(options, "onCrash: fail-device, and disk hangs when the VM sleeps", extra: ["\"onCrash\": \"fail-device\""]) {
            vm, scratch in
            let process = try HangingVM.hang("disk", scratch)
            let result = Command.run([options.swvmm, "sleep", vm.name])
            guard !result.succeeded, result.errors.firstRange(of: "disk") != nil else {
                throw TickingVM.Failure("expected an error that names the disk, found: \(result.output)\(result.errors)")
            }
            try vm.expectComplaint("device \"disk\": process \(process) did not answer in time and was killed. The device fails")
            try JailedVM.expectNone("disk", of: vm)
            try vm.watch(3)
        },
        hangCase(options, "a disk that hangs from the start keeps its VM from starting", policies: true) { vm, scratch in
            vm.kill()
            try HangingVM.writePolicies(scratch, call: "recvmsg")
            let result = Command.run([options.swvmm, "run", "--config", "\(scratch.path)/vm.json"])
            guard result.status == .exited(69), HangingVM.names("disk", result.errors, "Device \"disk\" did not start: process ") else {
                throw TickingVM.Failure("expected exit code 69 and why, found \(result.status.map { "\($0)" } ?? "none"): \(result.errors)")
            }
        },
        hangCase(options, "a snapshot of changes while devices are in use is whole", tracksWrites: true) { vm, scratch in
            let (base, next) = ("\(scratch.path)/base", "\(scratch.path)/next")
            let (flat, full) = ("\(scratch.path)/flat", "\(scratch.path)/full")
            _ = try HangingVM.processes(scratch)
            try vm.command("snapshot", vm.name, base)
            try vm.watch(20)
            let answer = try vm.command("snapshot", vm.name, next, "--base", base, "--digest", "--then", "sleep", "--json")
            guard answer.contains("\"tracked\": true") else { throw TickingVM.Failure("nobody has tracked what was written: \(answer)") }
            try vm.command("snapshot", vm.name, full, "--digest", "--then", "sleep")
            try vm.command("snapshot", "flatten", next, flat)
            let same = Command.run([options.swvmm, "snapshot", "diff", flat, full])
            guard same.succeeded else { throw TickingVM.Failure("a write is missing: \(same.output)\(same.errors)") }
        },
        // It greets, and hangs when its state comes.
        hangCase(options, "a disk that hangs while its VM is restored is killed", extra: ["\"maxRestarts\": 1"], policies: true) {
            vm, scratch in
            let saved = "\(scratch.path)/saved"
            try vm.command("snapshot", vm.name, saved, "--then", "sleep")
            vm.kill()
            try HangingVM.writePolicies(scratch, call: "read")
            let result = Command.run([options.swvmm, "restore", saved])
            guard let status = result.status, status != .exited(0), HangingVM.names("disk", result.errors, "device \"disk\": process "),
                result.errors.firstRange(of: "once too often") != nil
            else {
                throw TickingVM.Failure("expected an error and why, found \(result.status.map { "\($0)" } ?? "no end"): \(result.errors)")
            }
            guard Command.shell("pgrep -f 'device-process disk$'") == nil else { throw TickingVM.Failure("a process is left") }
        },
    ]
}

/// A `TickingVM` with a device of each kind, each in use.
enum HangingVM {
    static let devices = ["disk", "console", "entropy", "net"]
    static let tap = "swhang0"
    /// A tap needs root; anybody can have passt.
    static var network: String {
        let backend = getuid() == 0 && pathExists("/dev/net/tun") ? "{ \"tap\": \"\(tap)\" }" : "\"user\""
        return "\"id\": \"net\", \"type\": \"net\", \"backend\": \(backend)"
    }

    /// Has a device's process hang.
    static func hang(_ device: String, _ scratch: Scratch) throws -> Int32 {
        let process = try JailedVM.process(of: device, scratch)
        try hang(process)
        return process
    }

    static func hang(_ process: Int32) throws {
        guard Glibc.kill(process, SIGSTOP) == 0 else { throw TickingVM.Failure("process \(process) cannot be stopped") }
        // SIGSTOP takes its time to arrive; a process that is traced has a small letter.
        let deadline = MonotonicTime.now + 10_000
        while Command.shell("grep -q '^State:.[Tt]' /proc/\(process)/status") == nil {
            guard MonotonicTime.now < deadline else { throw TickingVM.Failure("process \(process) does not stop") }
            _ = usleep(5000)
        }
    }

    /// All processes of the VM but its supervisor.
    static func processes(_ scratch: Scratch) throws -> [Int32] {
        try ([JailedVM.machine] + devices).map { try JailedVM.process(of: $0, scratch) }
    }

    static func restarted(_ device: String, _ old: Int32, _ new: Int32) -> String {
        "device \"\(device)\": process \(old) did not answer in time and was killed. It was started again as process \(new)"
    }

    /// The VM ends by itself, in this way, and has said so.
    static func expectEnd(_ expected: ExitStatus, of vm: TickingVM, because why: String) throws {
        let end = vm.waitForEnd()
        guard end == expected, vm.complaints.firstRange(of: why) != nil else {
            throw TickingVM.Failure("expected \(expected) and '\(why)', found \(end.map { "\($0)" } ?? "no end"): \(vm.complaints)")
        }
    }

    /// Nothing of a VM is left.
    static func expectNothing(_ processes: [Int32], _ scratch: Scratch) throws {
        try JailedVM.expectGone(processes)
        let left = Command.shell("cd \(scratch.path) && ls -d console.sock /sys/class/net/\(tap) 2>/dev/null; pgrep -x passt; true") ?? ""
        guard left.isEmpty else { throw TickingVM.Failure("left behind: \(left)") }
    }

    /// Whether a text says that this device's process did not answer.
    static func names(_ device: String, _ text: String, _ beginning: String) -> Bool {
        text.firstRange(of: beginning) != nil && text.firstRange(of: "did not answer in time and was killed") != nil
            && text.firstRange(of: device) != nil
    }

    /// Policies with which a disk's process tries one system call again and again (EINTR), and all others are as they were.
    static func writePolicies(_ scratch: Scratch, call: String) throws {
        let source = "\(currentDirectory())/Configs/seccomp"
        let script = """
            cd \(scratch.path)/policies && grep -v '^\(call)$' \(source)/common.policy >common.policy
            for kind in vmm rng console net; do { cat \(source)/$kind.policy; echo \(call); } >$kind.policy; done
            { cat \(source)/block.policy; echo \(call) errno=4; } >block.policy
            """
        guard Command.shell(script) != nil, Command.shell("grep -q '^\(call)$' \(source)/common.policy") != nil else {
            throw TickingVM.Failure("failed: \(script)")
        }
    }
}

private func hangCase(
    _ options: Options, _ name: String, extra: [String] = [], words: String = "", policies: Bool = false,
    tracksWrites: Bool = false, _ body: @escaping (TickingVM, Scratch) throws -> Void
) -> TestCase {
    tickingCase(options, "jail: \(name)") { file, scratch in
        file.isolation = "process"
        file.tracksWrites = tracksWrites
        file.transport = "mmio"
        file.commandLine = "mmio=\(HangingVM.devices.count) \(words)"
        file.devices = JailedVM.configuration + [HangingVM.network]
        file.extra += extra
        _ = Command.shell("truncate -s 1M \(scratch.path)/disk.img && mkdir \(scratch.path)/policies")
        if policies { file.extra.append("\"policies\": \"policies\"") }
    } _: {
        try body($0, $1)
    }
}
