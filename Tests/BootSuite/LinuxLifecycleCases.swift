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

extension LoadedRun {
    func run(cycles: Int) {
        defer { end() }
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

    /// The disk's server, if there is one, has nothing to complain of, and its image is clean.
    private func endDisk() throws {
        guard let disk else { return }
        try check("its disk's server ends well, with a clean disk") {
            try disk.end()
            guard Command.shell("e2fsck -fn \(scratch.path)/data.img") != nil else { throw Failure(reason: "the image is not clean") }
        }
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
}
