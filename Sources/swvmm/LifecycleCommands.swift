import ArgumentParser
import Supervisor

/// `swvmm sleep`.
struct SleepCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sleep", abstract: "Put a running VM to sleep: it stops between two instructions, its devices finish what they do.")

    @OptionGroup var vm: VMArgument

    func run() throws {
        if try !ControlClient(name: vm.name).sleep() { print("VM \"\(vm.name)\" was already asleep.") }
    }
}

/// `swvmm wake`.
struct WakeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "wake", abstract: "Let a VM that is asleep go on.")

    @OptionGroup var vm: VMArgument

    func run() throws {
        if try !ControlClient(name: vm.name).wake() { print("VM \"\(vm.name)\" was already awake.") }
    }
}

/// `swvmm stop`.
struct StopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop", abstract: "End a VM and wait until it has ended.",
        discussion: "Presses the power button, and the VM forces the end after its 'shutdownTimeout'.")

    @OptionGroup var vm: VMArgument

    @Flag(help: "End it at once, as if its power were cut.")
    var force = false

    @Option(help: "Seconds to wait for the end, 1 to 86400.")
    var timeout: Int64 = 60

    func validate() throws {
        guard (1...86_400).contains(timeout) else { throw ValidationError("--timeout: expected 1 to 86400 seconds.") }
    }

    func run() throws { try ControlClient(name: vm.name).stop(force: force, seconds: timeout) }
}

/// `swvmm powerbutton`.
struct PowerButtonCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "powerbutton", abstract: "Press a VM's power button.")

    @OptionGroup var vm: VMArgument

    func run() throws { try ControlClient(name: vm.name).pressPowerButton() }
}

/// `swvmm events`.
struct EventsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "events", abstract: "Print what happens to a VM, one JSON object on each line, until it ends.")

    @OptionGroup var vm: VMArgument

    func run() throws {
        let client = try ControlClient(name: vm.name)
        let output = StandardOutput()
        try client.events { output.writeLine($0) }
    }
}
