import ArgumentParser
import Schema
import Supervisor

/// `swvmm list`.
struct ListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the running VMs of this user.",
        discussion: "A VM that does not answer in time is shown as 'silent', one that has died and left its directory as 'dead'.")

    @Flag(help: "Print the list as JSON.")
    var json = false

    func run() {
        let list = VMList.collect()
        print(json ? JSONText.encode(list.json) : list.text, terminator: "")
    }
}

/// `swvmm info`.
struct InfoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "info", abstract: "Tell about a running VM.")

    @OptionGroup var vm: VMArgument

    @Flag(help: "Print everything as JSON, with the configuration and the devices' counters.")
    var json = false

    func run() throws {
        let report = try VMReport.collect(name: vm.name)
        print(json ? JSONText.encode(report.json) : report.text, terminator: "")
    }
}

/// The argument that names a running VM.
struct VMArgument: ParsableArguments {
    @Argument(help: "The VM's name, as 'swvmm list' shows it.")
    var name: String
}
