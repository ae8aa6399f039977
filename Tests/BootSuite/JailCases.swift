import Glibc
import Host

/// Devices in jailed processes, of a bare-metal guest: what they may do, and what happens when they end, hang, or lose their VM.
func jailCases(_ options: Options) -> [TestCase] {
    [
        jailCase(options, "processes are what the table says", checkTable),
        jailCase(options, "a process that is killed is followed by another") { vm, scratch in
            for round in 0..<3 {
                for device in JailedVM.devices {
                    let before = try JailedVM.process(of: device, scratch)
                    _ = Glibc.kill(before, SIGKILL)
                    _ = try JailedVM.process(of: device, scratch, otherThan: before)
                    try vm.watch(2)
                }
                if round == 0 { try vm.command("sleep", vm.name) }
                if round == 0 { try vm.command("wake", vm.name) }
            }
            guard try vm.command("info", vm.name).firstRange(of: "running") != nil else { throw TickingVM.Failure("it does not run") }
            try vm.expectComplaint("was killed by signal 9")
        },
        jailCase(options, "a virtual machine whose process is killed has ended, and says so") { vm, scratch in
            let processes = try ([JailedVM.machine] + JailedVM.devices).map { try JailedVM.process(of: $0, scratch) }
            _ = Glibc.kill(processes[0], SIGKILL)
            let why = "The virtual machine has failed: process \(processes[0]) was killed by signal 9"
            let end = vm.waitForEnd()
            guard end == .exited(1), vm.complaints.firstRange(of: why) != nil else {
                throw TickingVM.Failure("expected exit code 1 and why, found \(end.map { "\($0)" } ?? "no end"): \(vm.complaints)")
            }
            try JailedVM.expectGone(processes)
        },
        jailCase(options, "a virtual machine whose process hangs can be stopped") { vm, scratch in
            let machine = try JailedVM.process(of: JailedVM.machine, scratch)
            _ = Glibc.kill(machine, SIGSTOP)
            _ = Glibc.kill(vm.processID, SIGINT)
            let end = vm.waitForEnd()
            guard end == .exited(1), vm.complaints.firstRange(of: "process \(machine) did not answer in time") != nil else {
                throw TickingVM.Failure("expected exit code 1 and why, found \(end.map { "\($0)" } ?? "no end"): \(vm.complaints)")
            }
            try JailedVM.expectGone([machine])
        },
        jailCase(options, "a process that hangs is replaced when it is needed") { vm, scratch in
            let before = try JailedVM.process(of: "disk", scratch)
            _ = Glibc.kill(before, SIGSTOP)
            try vm.command("snapshot", vm.name, "\(scratch.path)/hung", "--then", "wake")
            let after = try JailedVM.process(of: "disk", scratch)
            guard after != before else { throw TickingVM.Failure("process \(before) is still there") }
            try vm.command("snapshot", "verify", "\(scratch.path)/hung")
            try vm.watch(3)
        },
        jailCase(options, "nobody outlives the VM") { vm, scratch in
            try outlive(vm, scratch, options) { _ in }
        },
        jailCase(options, "nobody outlives the VM, not even who hangs") { vm, scratch in
            try outlive(vm, scratch, options) { for process in $0 { _ = Glibc.kill(process, SIGSTOP) } }
        },
        jailCase(options, "onCrash: stop", extra: ["\"onCrash\": \"stop\""]) { vm, scratch in
            let process = try JailedVM.process(of: "disk", scratch)
            _ = Glibc.kill(process, SIGKILL)
            let end = vm.waitForEnd()
            let why = "Device \"disk\" has failed: process \(process) was killed by signal 9"
            guard end == .exited(1), vm.complaints.firstRange(of: why) != nil else {
                throw TickingVM.Failure("expected exit code 1 and why, found \(end.map { "\($0)" } ?? "no end"): \(vm.complaints)")
            }
        },
        jailCase(options, "onCrash: fail-device", extra: ["\"onCrash\": \"fail-device\""]) { vm, scratch in
            _ = Glibc.kill(try JailedVM.process(of: "disk", scratch), SIGKILL)
            try vm.watch(5)
            try JailedVM.expectNone("disk", of: vm)
            try vm.command("sleep", vm.name)
            try vm.command("wake", vm.name)
            try vm.watch(3)
        },
        jailCase(options, "a process that ends too often is not started again", extra: ["\"maxRestarts\": 1"]) { vm, scratch in
            let first = try JailedVM.process(of: "disk", scratch)
            _ = Glibc.kill(first, SIGKILL)
            let second = try JailedVM.process(of: "disk", scratch, otherThan: first)
            try vm.watch(3)
            _ = Glibc.kill(second, SIGKILL)
            try vm.watch(5)
            try JailedVM.expectNone("disk", of: vm)
        },
        foreignBackEndCase(options, "a back-end of others that leaves is waited for") { vm, _, server in
            for _ in 0..<2 {
                try server.kill(whileBusy: false)
                try vm.expectComplaint("disk.sock is lost: The back-end has left. Another one is waited for")
                try server.restart()
                try vm.expectComplaint("disk.sock is back")
            }
            try vm.command("sleep", vm.name)
            try vm.command("wake", vm.name)
            try vm.watch(3)
        },
        foreignBackEndCase(options, "a back-end of others that leaves, onCrash: stop", extra: ["\"onCrash\": \"stop\""]) { vm, _, server in
            try server.kill(whileBusy: false)
            let end = vm.waitForEnd()
            let why = "Device \"disk\" has failed: its vhost-user back-end at \(server.socket) is lost: The back-end has left."
            guard end == .exited(1), vm.complaints.firstRange(of: why) != nil else {
                throw TickingVM.Failure("expected exit code 1 and why, found \(end.map { "\($0)" } ?? "no end"): \(vm.complaints)")
            }
        },
        foreignBackEndCase(
            options, "a back-end of others that leaves, onCrash: fail-device", extra: ["\"onCrash\": \"fail-device\""]
        ) { vm, _, server in
            try server.kill(whileBusy: false)
            try vm.expectComplaint("disk.sock is lost: The back-end has left. The device fails")
            try server.restart()
            try vm.watch(5)
            guard vm.complaints.firstRange(of: "is back") == nil else { throw TickingVM.Failure("it is back: \(vm.complaints)") }
        },
        jailCase(options, "a policy of the user's takes the place of the built-in one") { vm, scratch in
            vm.kill()
            // Nothing but the rules that all have: no virtual machine can be made with these.
            let prepared = "mkdir \(scratch.path)/policies && echo '# nothing' >\(scratch.path)/policies/vmm.policy"
            guard Command.shell(prepared) != nil, let text = Command.shell("cat \(scratch.path)/vm.json") else {
                throw TickingVM.Failure("failed: \(prepared)")
            }
            let own = scratch.write("own.json", "{ \"policies\": \"policies\"," + text.dropFirst())
            let result = Command.run([options.swvmm, "run", "--config", own])
            guard result.status == .exited(1), result.errors.firstRange(of: "which its policy forbids") != nil
            else { throw TickingVM.Failure("expected a forbidden call, found: \(result.errors)") }
        },
        jailCase(options, "a device is upgraded") { vm, scratch in
            // The installed program is the same here; that it is another process counts.
            for device in JailedVM.devices {
                let before = try JailedVM.process(of: device, scratch)
                try vm.command("device", "upgrade", vm.name, device)
                let after = try JailedVM.process(of: device, scratch)
                guard after != before else { throw TickingVM.Failure("process \(before) still serves \(device)") }
                try vm.watch(2)
            }
            // Handed over, not lost and found.
            guard vm.complaints.firstRange(of: "started again") == nil else { throw TickingVM.Failure(vm.complaints) }
        },
        jailCase(options, "a device that hangs is upgraded to no avail, and replaced") { vm, scratch in
            let before = try JailedVM.process(of: "disk", scratch)
            _ = Glibc.kill(before, SIGSTOP)
            let refusal = Command.run([options.swvmm, "device", "upgrade", vm.name, "disk"])
            guard !refusal.succeeded, refusal.errors.firstRange(of: "\"disk\" was not upgraded") != nil else {
                throw TickingVM.Failure("expected a refusal, found: \(refusal.output)\(refusal.errors)")
            }
            _ = try JailedVM.process(of: "disk", scratch, otherThan: before)
            try JailedVM.expectGone([before])
            try vm.command("sleep", vm.name)
            try vm.command("wake", vm.name)
            try vm.watch(3)
        },
        jailCase(options, "a program that does not work leaves the old one alone", extra: ["\"onCrash\": \"stop\""]) { vm, scratch in
            vm.kill()
            var own = options
            own.swvmm = "\(scratch.path)/swvmm"
            guard Command.shell("cp '\(options.swvmm)' '\(own.swvmm)'") != nil else { throw TickingVM.Failure("no copy of the program") }
            let next = try TickingVM(own, name: vm.name, arguments: ["run", "--config", "\(scratch.path)/vm.json"])
            defer { next.kill() }
            try next.watch(3)
            guard Command.shell("cp /bin/true '\(own.swvmm).new' && mv '\(own.swvmm).new' '\(own.swvmm)'") != nil else {
                throw TickingVM.Failure("no other program")
            }
            let before = try JailedVM.devices.map { try JailedVM.process(of: $0, scratch) }
            for device in JailedVM.devices {
                let refusal = Command.run([options.swvmm, "device", "upgrade", next.name, device])
                guard !refusal.succeeded, refusal.errors.firstRange(of: "\"\(device)\" was not upgraded") != nil else {
                    throw TickingVM.Failure("expected a refusal, found: \(refusal.output)\(refusal.errors)")
                }
            }
            try next.watch(3)
            guard try JailedVM.devices.map({ try JailedVM.process(of: $0, scratch) }) == before else {
                throw TickingVM.Failure("the processes are not those of before")
            }
        },
        jailCase(options, "snapshots go from processes to none and back") { vm, scratch in
            let (a, b, c) = ("\(scratch.path)/a", "\(scratch.path)/b", "\(scratch.path)/c")
            try vm.command("snapshot", vm.name, a, "--then", "sleep")
            try vm.settle()
            vm.kill()
            for (from, isolation, to) in [(a, "none", b), (b, "process", c)] {
                let arguments = ["--asleep", "--isolation", isolation]
                let copy = try TickingVM(options, name: vm.name, restoring: from, after: vm, arguments: arguments)
                defer { copy.kill() }
                try copy.waitUntilItAnswers()
                try copy.command("snapshot", vm.name, to)
            }
            try vm.command("snapshot", "verify", c)
            let same = Command.run([options.swvmm, "snapshot", "diff", a, c])
            guard same.succeeded else { throw TickingVM.Failure("the state differs: \(same.output)\(same.errors)") }
            let last = try TickingVM(options, name: vm.name, restoring: c, after: vm)
            defer { last.kill() }
            try last.watch(3)
        },
    ]
}

/// A `TickingVM` with a device of each kind that needs no network.
enum JailedVM {
    static let devices = ["disk", "console", "entropy"]
    static let configuration = [
        "\"id\": \"disk\", \"type\": \"block\", \"path\": \"disk.img\"",
        "\"id\": \"console\", \"type\": \"console\", \"backend\": { \"socket\": \"console.sock\" }",
        "\"id\": \"entropy\", \"type\": \"rng\"",
    ]

    /// What stands for the virtual machine's own process where a device's id could stand.
    static let machine = ""

    /// Processes have ended.
    static func expectGone(_ processes: [Int32]) throws {
        let deadline = MonotonicTime.now + 10_000
        while processes.contains(where: { Glibc.kill($0, 0) == 0 }) {
            guard MonotonicTime.now < deadline else { throw TickingVM.Failure("some of \(processes) are left") }
            _ = usleep(5000)
        }
    }

    /// Nobody serves a device.
    static func expectNone(_ device: String, of vm: TickingVM) throws {
        guard Command.shell("pgrep -f 'device-process \(device)$' -P \(vm.processID)") == nil else {
            throw TickingVM.Failure("device \(device) has a process")
        }
    }

    /// The process of a device or of the virtual machine, waited for.
    static func process(of device: String, _ scratch: Scratch, otherThan other: Int32? = nil) throws -> Int32 {
        let pattern = device == machine ? "machine-process ticker " : "device-process \(device)$"
        let deadline = MonotonicTime.now + 10_000
        while MonotonicTime.now < deadline {
            let found = (Command.shell("pgrep -f '\(pattern)'; true") ?? "").split(separator: "\n").compactMap { Int32($0) }
            if let process = found.first(where: { $0 != other }) { return process }
            _ = usleep(5000)
        }
        throw TickingVM.Failure("device \(device) has no \(other == nil ? "" : "other ")process")
    }
}

/// A case with a disk that another `swvmm` serves.
private func foreignBackEndCase(
    _ options: Options, _ name: String, extra: [String] = [], _ body: @escaping (TickingVM, Scratch, ForeignServer) throws -> Void
) -> TestCase {
    let server = ServerSlot()
    return tickingCase(options, "jail: \(name)") { file, scratch in
        file.isolation = "process"
        _ = Command.shell("truncate -s 1M \(scratch.path)/disk.img")
        server.server = try? ForeignServer.ours(options, "block", scratch, "path=\(scratch.path)/disk.img")
        let socket = quote(server.server?.socket ?? "nowhere")
        file.devices = ["\"id\": \"disk\", \"type\": \"block\", \"backend\": { \"vhostUser\": \(socket) }"]
        file.extra += extra
    } _: { vm, scratch in
        defer { server.server = nil }
        if let server = server.server { try body(vm, scratch, server) }
    }
}

private final class ServerSlot { var server: ForeignServer? }

private func jailCase(
    _ options: Options, _ name: String, extra: [String] = [], _ body: @escaping (TickingVM, Scratch) throws -> Void
) -> TestCase {
    tickingCase(options, "jail: \(name)") { file, scratch in
        file.isolation = "process"
        file.devices = JailedVM.configuration
        file.extra += extra
        _ = Command.shell("truncate -s 1M \(scratch.path)/disk.img")
    } _: {
        try body($0, $1)
    }
}

/// Kills the VM's supervisor after something was done to all its other processes: none of them is left, and nothing that they held.
private func outlive(_ vm: TickingVM, _ scratch: Scratch, _ options: Options, _ prepare: ([Int32]) -> Void) throws {
    let processes = try ([JailedVM.machine] + JailedVM.devices).map { try JailedVM.process(of: $0, scratch) }
    prepare(processes)
    vm.kill()
    try JailedVM.expectGone(processes)
    // Disk, socket and name are free again.
    let next = try TickingVM(options, name: vm.name, arguments: ["run", "--config", "\(scratch.path)/vm.json"])
    defer { next.kill() }
    try next.watch(3)
}

/// What every process that sees what a guest writes is like, from outside.
private func checkTable(_ vm: TickingVM, _ scratch: Scratch) throws {
    let isRoot = getuid() == 0
    // Nobody shares one of these; the empty root directory and the network without connections may be everybody's.
    let everybody = try ([JailedVM.machine] + JailedVM.devices).map { "\(try JailedVM.process(of: $0, scratch))" }
    for space in ["pid", "ipc", "uts", "cgroup"] {
        let count = "for p in \(everybody.joined(separator: " ")); do readlink /proc/$p/ns/\(space); done | sort -u | wc -l"
        guard Command.shell(count) == "\(everybody.count)" else { throw TickingVM.Failure("processes share a \(space) namespace") }
    }
    for device in [JailedVM.machine] + JailedVM.devices {
        let process = try JailedVM.process(of: device, scratch)
        func expect(_ what: String, _ script: String, _ expected: String) throws {
            let found = Command.shell("\(script); true") ?? "nothing"
            guard found == expected else { throw TickingVM.Failure("\(device): \(what): expected \(expected), found \(found)") }
        }
        func status(_ field: String) -> String { "awk '$1 == \"\(field):\" { print $2 }' /proc/\(process)/status" }
        try expect("no_new_privs", status("NoNewPrivs"), "1")
        try expect("seccomp", status("Seccomp"), "2")
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] { try expect(set, status(set), "0000000000000000") }
        if isRoot { try expect("user", status("Uid"), "65534") }
        for space in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
            let compare = "[ $(readlink /proc/\(process)/ns/\(space)) = $(readlink /proc/self/ns/\(space)) ] || echo own"
            try expect("its own \(space) namespace", compare, "own")
        }
        try expect("number of processes in its namespace", "awk '/^NSpid/ { print $NF }' /proc/\(process)/status", "1")
        if isRoot { try expect("files in its root", "ls -A /proc/\(process)/root | wc -l", "0") }
        // Nothing that leads out: no directory, no terminal, no memory but RAM and notes; KVM and its own page tables for the machine.
        let list = "for fd in /proc/\(process)/fd/*; do readlink $fd; done | sed 's/:.*//; s/ (deleted)//' | sort | uniq -c"
        guard let files = Command.shell(list), !files.isEmpty else { throw TickingVM.Failure("\(device): its descriptors cannot be read") }
        for line in files.split(separator: "\n") {
            let name = line.split(separator: " ").last.map(String.init) ?? ""
            let known = ["socket", "pipe", "anon_inode", "/dev/null", "/memfd", "\(scratch.path)/disk.img"]
            let isMachines = device == JailedVM.machine && (name == "/dev/kvm" || name.hasSuffix("/pagemap"))
            guard isMachines || known.contains(where: { name.hasPrefix($0) }), device == "disk" || !name.hasSuffix("disk.img") else {
                throw TickingVM.Failure("\(device) has '\(line)' open")
            }
        }
    }
}
