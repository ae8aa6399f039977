import Glibc
import Host

/// Many VMs from one snapshot at once, each with its own disk and tap: as root, in the lab.
func cloneCases(_ options: Options) -> [TestCase] {
    let count = options.complete ? 10 : 3
    return [TestCase(name: "clones: \(count) from one snapshot") { report in CloneRun(count, options, report).run() }]
}

private final class CloneRun {
    private struct Failure: Error { let reason: String }

    private static let patience: Int64 = 240_000
    private let count: Int
    private let options: Options
    private let report: Report
    private let scratch = Scratch("clones")

    init(_ count: Int, _ options: Options, _ report: Report) { (self.count, self.options, self.report) = (count, options, report) }

    func run() {
        let begin = MonotonicTime.now
        var clones: [RunningVM] = []
        defer {
            for clone in clones { clone.kill() }
            for number in 0...count { _ = Command.shell("ip link del swclone\(number)") }
            scratch.remove()
        }
        do {
            try prepare()
            for number in 1...count { clones.append(try clone(number)) }
            var ids: Set<String> = []
            for (index, clone) in clones.enumerated() {
                try follow(clone, 5)
                ids.insert(try generation("clone\(index + 1)"))
            }
            note("run at once", nil)
            note("differ in their VM Generation ID", ids.count == count ? nil : "expected \(count) IDs, found \(ids.count)")
            // Devices in other processes need RAM that they can map: then each VM has a copy.
            if isolation == "none" { note("share what they have not written", sharing()) }
            for (index, clone) in clones.enumerated() { try finish(clone, index + 1) }
            note("end well, with clean disks of their own", nil)
        } catch {
            let context = clones.last.map { $0.history.suffix(10) + lines($0.complaints) } ?? []
            note("run to their end", (error as? Failure)?.reason ?? "\(error)", context: Array(context))
        }
        report.remark("clones: \((MonotonicTime.now - begin) / 1000) s")
    }

    /// Where clones share RAM, unless somebody wants it otherwise.
    private var isolation: String { options.isolation ?? "none" }

    private func note(_ check: String, _ problem: String?, context: [String] = []) {
        report.note("clones: \(count) from one snapshot: \(check)", problem, context: context)
    }

    /// Boots the guest that all clones come from, and saves it while it works.
    private func prepare() throws {
        let commands = "truncate -s 32M clone0.img && ip tuntap add swclone0 mode tap && ip link set swclone0 up"
        guard Command.shell("cd \(scratch.path) && \(commands)") != nil else { throw Failure(reason: "failed: \(commands)") }
        var vm = VMFile(kernel: "\(options.guests)/6.12")
        vm.isolation = isolation
        vm.name = "clone0"
        vm.initrd = "\(options.guests)/6.12.initrd"
        vm.memory = "256M"
        vm.serial = "\"null\""
        vm.commandLine = "console=ttyS0 quiet panic=-1 swvmm.mode=script swvmm.console=hvc0 swvmm.end=load swvmm.tcp=no"
        vm.devices = [
            "\"id\": \"console\", \"type\": \"console\"", "\"id\": \"data\", \"type\": \"block\", \"path\": \"clone0.img\"",
            "\"id\": \"tap\", \"type\": \"net\", \"backend\": { \"tap\": \"swclone0\" }", "\"id\": \"rng\", \"type\": \"rng\"",
        ]
        let first = try RunningVM(swvmm: options.swvmm, configuration: scratch.write("vm.json", vm.text))
        defer { first.kill() }
        try follow(first, 10)
        let result = Command.run([options.swvmm, "snapshot", "clone0", "\(scratch.path)/snapshot", "--then", "sleep"], seconds: 120)
        guard result.succeeded else { throw Failure(reason: "the snapshot failed: \(result.errors)") }
        first.kill()
    }

    private func clone(_ number: Int) throws -> RunningVM {
        let commands = "cp --sparse=always clone0.img clone\(number).img && ip tuntap add swclone\(number) mode tap"
        guard Command.shell("cd \(scratch.path) && \(commands)") != nil else { throw Failure(reason: "failed: \(commands)") }
        return try RunningVM(
            program: options.swvmm,
            arguments: [
                "restore", "\(scratch.path)/snapshot", "--name", "clone\(number)", "--disk", "data=\(scratch.path)/clone\(number).img",
                "--net", "tap=swclone\(number)",
            ])
    }

    private func follow(_ machine: RunningVM, _ more: Int) throws {
        var seen = 0
        let deadline = MonotonicTime.now + Self.patience
        while seen < more {
            guard let line = machine.nextLine(before: deadline) else {
                throw Failure(reason: "the counter stands still: \(machine.status.map { "\($0)" } ?? "silent"); \(machine.complaints)")
            }
            if line.hasPrefix("BAD") { throw Failure(reason: line) }
            if line.hasPrefix("COUNT ") { seen += 1 }
        }
    }

    private func generation(_ name: String) throws -> String {
        let result = Command.run(["sh", "-c", "\(options.swvmm) info \(name) --json | jq -r .vm.generation"])
        guard result.succeeded, !result.output.isEmpty, result.output != "null\n" else {
            throw Failure(reason: "\(name) tells no VM Generation ID: \(result.output)\(result.errors)")
        }
        return result.output
    }

    /// Half of what the clones have mapped, at least, is shared.
    private func sharing() -> String? {
        let script =
            "for pid in $(pgrep -f 'restore \(scratch.path)/snapshot'); do cat /proc/$pid/smaps_rollup; done | awk '/^Rss/ { r += $2 } /^Pss:/ { p += $2 } END { print r, p }'"
        let numbers = (Command.shell(script) ?? "").split(separator: " ").compactMap { Int($0) }
        guard numbers.count == 2, numbers[1] > 0 else { return "their memory cannot be read" }
        report.remark("clones: \(numbers[0] / 1024) MiB mapped, \(numbers[1] / 1024) MiB in proportion")
        return numbers[1] * 3 <= numbers[0] * 2 ? nil : "\(numbers[0]) KiB are mapped, and \(numbers[1]) KiB in proportion"
    }

    private func finish(_ machine: RunningVM, _ number: Int) throws {
        guard machine.type("stop\n") else { throw Failure(reason: "the console of clone \(number) takes no input") }
        let deadline = MonotonicTime.now + Self.patience
        var ending: [String] = []
        while let line = machine.nextLine(before: deadline) {
            if !line.hasPrefix("COUNT ") { ending.append(line) }
        }
        guard ending.contains("CHECK fsck ok"), ending.contains(where: { $0.hasPrefix("FORKS ") && $0 != "FORKS 0" }) else {
            throw Failure(reason: "clone \(number) ended with \(ending)")
        }
        guard machine.status == .exited(0) else {
            throw Failure(reason: "clone \(number): expected exit code 0, found \(machine.status.map { "\($0)" } ?? "none")")
        }
    }
}
