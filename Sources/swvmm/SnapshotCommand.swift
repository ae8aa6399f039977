public import ArgumentParser
import Schema
public import Supervisor

/// `swvmm snapshot`: `swvmm snapshot NAME DIR`, and what can be done with the result.
struct SnapshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "Write a running VM to a directory, and look into such directories.",
        discussion: "'swvmm snapshot NAME DIR' is short for 'swvmm snapshot take NAME DIR', which a VM called \"inspect\" needs.",
        subcommands: [
            SnapshotTakeCommand.self, SnapshotInspectCommand.self, SnapshotDiffCommand.self, SnapshotVerifyCommand.self,
            SnapshotFlattenCommand.self,
        ], defaultSubcommand: SnapshotTakeCommand.self)
}

/// `swvmm snapshot take`.
struct SnapshotTakeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "take", abstract: "Write a running VM to a directory, from which it can be restored.",
        discussion: """
            A VM that runs sleeps meanwhile and goes on afterwards; one that is asleep stays asleep; --then says otherwise. The \
            directory appears when the snapshot is whole, and not at all when it fails.
            """)

    @OptionGroup var vm: VMArgument

    @Argument(help: ArgumentHelp("The directory to write; nothing may stand there yet.", valueName: "dir"))
    var directory: String

    @Option(help: "What becomes of the VM afterwards: stop, wake or sleep.")
    var then: SnapshotRequest.Ending?

    @Option(help: ArgumentHelp("Write only what has changed since this snapshot.", valueName: "dir"))
    var base: String?

    @Flag(help: "Make a digest of the memory, which 'snapshot verify' checks.")
    var digest = false

    @Flag(help: "Print what was written as JSON.")
    var json = false

    func run() throws {
        let request = SnapshotRequest(
            directory: AbsolutePath.of(directory), base: base.map(AbsolutePath.of), then: then, digest: digest)
        let answer = try ControlClient(name: vm.name).snapshot(request)
        if json { print(JSONText.encode(answer), terminator: "") }
    }
}

extension SnapshotRequest.Ending: ExpressibleByArgument {}
