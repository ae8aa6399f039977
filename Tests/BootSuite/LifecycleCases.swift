import Glibc
import Host

/// Sleep, wake, snapshot and restore of a bare-metal guest: wherever there is a /dev/kvm, hundreds of cycles in seconds.
func lifecycleCases(_ options: Options) -> [TestCase] {
    let cycles = options.complete ? 200 : 40
    return [
        lifecycleCase(options, "\(cycles) times asleep and awake") { vm, _ in
            for _ in 0..<cycles {
                try vm.command("sleep", vm.name)
                try vm.settle()
                let tick = vm.tick
                try vm.settle()
                guard vm.tick == tick else { throw TickingVM.Failure("tick \(vm.tick) came from a VM that sleeps") }
                try vm.command("wake", vm.name)
                try vm.watch(3)
            }
        },
        lifecycleCase(options, "\(cycles) times saved, killed, restored") { vm, scratch in
            var vm = vm
            for cycle in 0..<cycles {
                let directory = "\(scratch.path)/s\(cycle)"
                try vm.command("snapshot", vm.name, directory, "--then", "sleep")
                try vm.settle()
                vm.kill()
                vm = try TickingVM(options, name: "\(vm.name.prefix(20))\(cycle)", restoring: directory, after: vm)
                try vm.watch(3)
                if cycle > 0 { _ = Command.run(["rm", "-rf", "\(scratch.path)/s\(cycle - 1)"]) }
            }
            vm.kill()
        },
        lifecycleCase(options, "a restored VM has the state that was saved") { vm, scratch in
            let (a, b, c) = ("\(scratch.path)/a", "\(scratch.path)/b", "\(scratch.path)/c")
            try vm.command("snapshot", vm.name, a, "--then", "sleep")
            try vm.settle()
            try vm.command("wake", vm.name)
            try vm.watch(5)
            try vm.command("snapshot", vm.name, b, "--then", "sleep")
            vm.kill()
            let copy = try TickingVM(options, name: vm.name, restoring: a, after: vm, arguments: ["--asleep"])
            try copy.waitUntilItAnswers()
            try copy.command("snapshot", vm.name, c)
            copy.kill()
            try vm.command("snapshot", "verify", c)
            let same = Command.run([options.swvmm, "snapshot", "diff", a, c])
            guard same.succeeded else {
                throw TickingVM.Failure("restored and saved again, the state differs: \(same.output)\(same.errors)")
            }
            let other = Command.run([options.swvmm, "snapshot", "diff", a, b])
            guard other.status == .exited(1), other.output.firstRange(of: "pages differ") != nil else {
                throw TickingVM.Failure("after more ticks, expected other memory, found: \(other.output)\(other.errors)")
            }
        },
        lifecycleCase(options, "snapshots of changes, tracked", tracksWrites: true) { try chain($0, $1, isTracked: true) },
        lifecycleCase(options, "snapshots of changes, compared") { try chain($0, $1, isTracked: false) },
        lifecycleCase(options, "killed while it saves itself") { vm, scratch in
            // At a time that is different in each round; what is there afterwards is nothing, or a whole snapshot.
            for round in 0..<12 {
                let name = "killed\(round)"
                let target = "\(scratch.path)/s"
                _ = Command.run(["rm", "-rf", target])
                let victim = try TickingVM(options, name: name, restoring: try saved(vm, scratch), after: vm)
                try victim.waitUntilItAnswers()
                _ = Command.shell(
                    "\(options.swvmm) snapshot \(name) \(target) >/dev/null 2>&1 & sleep 0.0\(round % 4)\(round); kill -9 \(victim.processID); wait"
                )
                victim.kill()
                guard Command.shell("[ -e \(target) ]") != nil else { continue }
                try vm.command("snapshot", "verify", target)
            }
            // The next snapshot to the same place clears up.
            _ = Command.run(["rm", "-rf", "\(scratch.path)/s"])
            try vm.command("snapshot", vm.name, "\(scratch.path)/s")
            let remains = Command.shell("ls -A \(scratch.path) | grep -c partial; true")
            guard remains == "0" else { throw TickingVM.Failure("\(remains ?? "some") unfinished snapshots were left") }
        },
        lifecycleCase(options, "started asleep") { vm, scratch in
            vm.kill()
            let asleep = try TickingVM(options, name: vm.name, arguments: ["run", "--asleep", "--config", "\(scratch.path)/vm.json"])
            defer { asleep.kill() }
            try asleep.waitUntilItAnswers()
            try asleep.settle()
            guard asleep.tick == 0 else { throw TickingVM.Failure("it ran") }
            // As new as it is, it can be saved.
            try asleep.command("snapshot", vm.name, "\(scratch.path)/new")
            try asleep.command("wake", vm.name)
            try asleep.watch(3)
            asleep.kill()
            let restored = try TickingVM(options, name: vm.name, arguments: ["restore", "\(scratch.path)/new"])
            defer { restored.kill() }
            try restored.watch(3)
        },
    ] + lifecycleBadInputCases(options)

    /// A snapshot to bring copies of the VM back from, which stays asleep itself.
    func saved(_ vm: TickingVM, _ scratch: Scratch) throws -> String {
        let directory = "\(scratch.path)/origin"
        if Command.shell("[ -e \(directory) ]") == nil {
            try vm.command("snapshot", vm.name, directory, "--then", "sleep")
            try vm.settle()
        }
        return directory
    }

    /// Snapshots of changes on each other; every one restores, and so does the whole that they make. `isTracked`: what has changed is known.
    func chain(_ vm: TickingVM, _ scratch: Scratch, isTracked: Bool) throws {
        var vm = vm
        var base = "\(scratch.path)/full"
        try vm.command("snapshot", vm.name, base)
        for link in 0..<4 {
            try vm.watch(5)
            let next = "\(scratch.path)/diff\(link)"
            let answer = try vm.command("snapshot", vm.name, next, "--base", base, "--digest", "--then", "sleep", "--json")
            guard answer.contains("\"tracked\": \(isTracked)") else {
                throw TickingVM.Failure("expected a snapshot with tracking \(isTracked ? "used" : "not used"), found: \(answer)")
            }
            try vm.settle()
            if link % 2 == 0 {
                try vm.command("wake", vm.name)
            } else {
                vm.kill()
                vm = try TickingVM(options, name: vm.name, restoring: next, after: vm)
            }
            base = next
        }
        try vm.watch(5)
        vm.kill()
        let flat = "\(scratch.path)/flat"
        try vm.command("snapshot", "flatten", base, flat)
        let same = Command.run([options.swvmm, "snapshot", "diff", base, flat])
        guard same.succeeded else { throw TickingVM.Failure("the flattened snapshot differs: \(same.output)\(same.errors)") }
    }
}

private func lifecycleCase(
    _ options: Options, _ name: String, tracksWrites: Bool = false, _ body: @escaping (TickingVM, Scratch) throws -> Void
) -> TestCase {
    tickingCase(options, "lifecycle: \(name)") { file, _ in
        file.tracksWrites = tracksWrites
        file.isolation = options.isolation
        // What several VMs at once can have.
        if options.isolation != "none" {
            file.devices = ["\"id\": \"entropy\", \"type\": \"rng\"", "\"id\": \"console\", \"type\": \"console\", \"backend\": \"null\""]
        }
    } _: {
        try body($0, $1)
    }
}
