import Glibc
import Host

/// Linux guests under load, whose devices' processes are killed again and again: as root, in the lab.
func killCases(_ options: Options) -> [TestCase] {
    let all = [("pci", false, 2), ("mmio", true, 1), ("pci", true, 2), ("mmio", false, 1)]
    let kills = (options.complete ? all : Array(all.prefix(2))).enumerated().map { turn, shape in
        let load = LoadedGuest(kernel: turn % 2 == 0 ? "6.12" : "6.1-cloud", transport: shape.0, packed: shape.1, cpus: shape.2)
        return TestCase(name: "kills: \(load.name)") { report in LoadedRun(load, options, report).run(kills: options.complete ? 200 : 20) }
    }
    guard options.complete else { return kills }
    let load = LoadedGuest(kernel: "6.12", transport: "pci", packed: false, cpus: 1)
    return kills + [TestCase(name: "kills: machine and supervisor under load") { LoadedRun(load, options, $0).runIntoEnds() }]
}

extension LoadedRun {
    /// Kills processes of devices, `kills` times, while the guest works.
    func run(kills: Int) {
        defer { end() }
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
        defer { end() }
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
                try beginAnew()
            }
            try check("the guest ends well") { try finish() }
        } catch {
            report.note("kills: \(load.name)", "stopped early: \((error as? Failure)?.reason ?? "\(error)")")
        }
    }
}
