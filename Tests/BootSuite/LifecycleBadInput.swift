import Glibc
import Host

/// Commands to VMs and snapshots that cannot be obeyed: one sentence, an exit code, nothing lost, and the running VM runs on.
func lifecycleBadInputCases(_ options: Options) -> [TestCase] {
    [TestCase(name: "lifecycle: bad input") { report in LifecycleBadInput(options, report).run() }]
}

private struct LifecycleBadInput {
    private let options: Options
    private let report: Report
    private let scratch = Scratch("badcycle")

    init(_ options: Options, _ report: Report) { (self.options, self.report) = (options, report) }

    func run() {
        defer { scratch.remove() }
        var file = VMFile(kernel: "\(options.payloads)/ticker")
        file.name = "badcycle"
        file.memory = "64M"
        file.serial = "\"stdio\""
        file.devices = ["\"id\": \"disk\", \"type\": \"block\", \"path\": \"disk.img\"", "\"id\": \"rng\", \"type\": \"rng\""]
        file.extra = ["\"debugExit\": true"]
        _ = Command.shell("truncate -s 1M \(scratch.path)/disk.img")
        do {
            let vm = try TickingVM(options, name: file.name, configuration: scratch.write("vm.json", file.text))
            defer { vm.kill() }
            try vm.waitUntilItAnswers()
            try vm.command("snapshot", vm.name, "\(scratch.path)/good", "--digest")
            commands(vm)
            snapshots(vm)
            restores()
            full(vm)
            let before = vm.tick
            try vm.watch(5)
            report.note("lifecycle: bad input: the VM runs on", vm.tick > before ? nil : "it stands still")
        } catch {
            report.note("lifecycle: bad input", (error as? TickingVM.Failure)?.reason ?? "\(error)")
        }
    }

    private func expect(_ name: String, _ arguments: [String], code: Int32, says: [String], environment: String = "") {
        let line =
            environment.isEmpty ? [options.swvmm] + arguments : ["sh", "-c", "\(environment) exec \"$@\"", "sh", options.swvmm] + arguments
        let result = Command.run(line)
        var problem: String?
        if result.status != .exited(code) {
            problem = "expected exit code \(code), found \(result.status.map { "\($0)" } ?? "none")"
        } else if let missing = says.first(where: { result.errors.firstRange(of: $0) == nil }) {
            problem = "expected '\(missing)' in its sentence"
        } else if result.errors.split(separator: "\n").count != 1 {
            problem = "expected one line"
        }
        report.note("lifecycle: bad input: \(name)", problem, context: lines(result.output + result.errors))
    }

    private func commands(_ vm: TickingVM) {
        for command in ["sleep", "wake", "stop", "powerbutton", "info"] {
            expect("\(command) without a VM", [command, "nobody"], code: 66, says: ["nobody"])
        }
        expect("a second VM of the same name", ["run", "--config", "\(scratch.path)/vm.json"], code: 66, says: [vm.name, "running"])
        let dead = VMFile(kernel: "\(options.payloads)/ticker")
        if let machine = try? TickingVM(options, name: dead.name, configuration: scratch.write("dead.json", dead.text)) {
            try? machine.waitUntilItAnswers()
            machine.kill()
            expect("a VM that has died", ["sleep", dead.name], code: 66, says: [dead.name])
        }
    }

    private func snapshots(_ vm: TickingVM) {
        expect("a snapshot onto an existing one", ["snapshot", vm.name, "\(scratch.path)/good"], code: 66, says: ["good", "exists"])
        expect("a snapshot into nowhere", ["snapshot", vm.name, "\(scratch.path)/none/s"], code: 66, says: ["none/s"])
        expect("a snapshot on a file system that takes nothing", ["snapshot", vm.name, "/proc/s"], code: 66, says: ["/proc/s"])
        expect(
            "a base that is none", ["snapshot", vm.name, "\(scratch.path)/x", "--base", "\(scratch.path)/none"], code: 66, says: ["none"])
    }

    private func restores() {
        let good = "\(scratch.path)/good"
        func damaged(_ name: String, _ change: String, says: [String], code: Int32 = 66, arguments: [String] = []) {
            let copy = "\(scratch.path)/damaged"
            _ = Command.shell("rm -rf \(copy) && cp -r --sparse=always \(good) \(copy) && cd \(copy) && \(change)")
            expect("restore: \(name)", ["restore", copy, "--name", "damaged"] + arguments, code: code, says: says)
        }
        expect("restore: nothing there", ["restore", "\(scratch.path)/none"], code: 66, says: ["none"])
        damaged("no manifest", "rm manifest.json", says: ["manifest.json"])
        damaged("no state", "rm state.json", says: ["state.json"])
        damaged("no memory", "rm memory", says: ["memory"])
        damaged("memory cut short", "truncate -s -4096 memory", says: ["memory", "67108864"])
        damaged("a newer version", "sed -i 's/\"version\": 1/\"version\": 2/' manifest.json", says: ["version 2", "up to 1"])
        damaged("another architecture", "sed -i 's/x86_64/riscv64/' manifest.json", says: ["architecture", "riscv64"])
        damaged("a changed state", "sed -i 's/\"phase\": \"new\"/\"phase\": \"old\"/' state.json", says: ["state.json", "expected"])
        damaged("a changed configuration", "sed -i 's/64M/32M/' config.json", says: ["config.json"])
        damaged(
            "changed memory, verified",
            "printf x | dd of=memory bs=1 seek=$((0xf0000)) conv=notrunc 2>/dev/null; printf y | dd of=memory bs=1 seek=1048580 conv=notrunc 2>/dev/null",
            says: ["memory", "SHA-256"], arguments: ["--verify"])
        let copy = "\(scratch.path)/other.img"
        func overridden(_ name: String, _ change: String, _ arguments: [String], code: Int32 = 66, says: [String]) {
            _ = Command.shell("cd \(scratch.path) && rm -f other.img && \(change)")
            expect("restore: \(name)", ["restore", good, "--name", "other"] + arguments, code: code, says: says)
        }
        overridden("the disk is in use", "true", [], says: ["disk.img"])
        overridden("a disk that is missing", "true", ["--disk", "disk=\(copy)"], says: ["other.img"])
        overridden("a disk of another size", "truncate -s 2M other.img", ["--disk", "disk=\(copy)"], says: ["disk"])
        overridden("an unknown id", "true", ["--disk", "disc=\(copy)"], code: 64, says: ["disc"])
        overridden("an id of another kind", "true", ["--net", "disk=user"], code: 64, says: ["disk"])
    }

    /// A file system without room, and a process that is killed in the middle: no snapshot, no remains, and the VM runs on.
    private func full(_ vm: TickingVM) {
        let small = "\(scratch.path)/small"
        if Command.shell("mkdir \(small) && mount -t tmpfs -o size=256k tmpfs \(small)") != nil {
            expect("a snapshot without room", ["snapshot", vm.name, "\(small)/s"], code: 66, says: ["small/s", "No space left"])
            let remains = Command.shell("ls -A \(small)")
            report.note(
                "lifecycle: bad input: a snapshot without room leaves nothing", remains == "" ? nil : "found \(remains ?? "nothing")")
            _ = Command.shell("umount \(small)")
        }
    }
}
