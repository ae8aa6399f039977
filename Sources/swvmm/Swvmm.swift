import ArgumentParser
import Host
import Supervisor

/// The root of the command line: it parses and prints, everything else is the supervisor's.
struct Swvmm: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "swvmm",
        abstract: "Run virtual machines on Linux/KVM.",
        discussion: """
            Start with a configuration file:

              swvmm run --config vm.json

            and from another terminal 'swvmm list' shows it by its name, with which the other commands find it. \
            'swvmm config schema' tells what can stand in it, 'swvmm doctor' what this host can do. Exit codes: 0 the guest \
            powered off, 1 the machine failed, 64 usage, 65 configuration, 66 a file or device that it names, 69 this host \
            cannot run it, 80 the guest asked for a reset, 81 it panicked, 82 triple fault, 83 ended from outside.
            """,
        subcommands: [
            RunCommand.self, RestoreCommand.self, ListCommand.self, InfoCommand.self, SleepCommand.self, WakeCommand.self,
            SnapshotCommand.self,
            StopCommand.self, PowerButtonCommand.self, EventsCommand.self, DeviceCommand.self, BlkCommand.self, ConfigCommand.self,
            DoctorCommand.self, VersionCommand.self,
        ])
}

@main
enum Main {
    static func main() {
        // Before anything is opened.
        do throws(SystemError) { try StandardDescriptors.complete() } catch {
            end(VMError(.host, "A standard stream is closed, and cannot be replaced by /dev/null (\(error))."))
        }
        let arguments = Array(CommandLine.arguments.dropFirst())
        // Before any parser: a device's process starts in the time that one takes.
        if arguments.first == DeviceProcess.argument { DeviceProcess.run() }
        if arguments.first == MachineProcess.argument { MachineProcess.run(Array(arguments.dropFirst())) }
        do {
            if let source = plainSource(arguments) {
                let code = try VMRunner(source, log: LogSettings(level: .notice, format: .text)).run()
                leave(with: code.rawValue)
            }
            var command = try Swvmm.parseAsRoot(arguments)
            try command.run()
        } catch let error as VMError {
            end(error)
        } catch {
            Swvmm.exit(withError: error)
        }
    }

    /// What `run --config FILE`, `restore DIR` and `restore DIR --name NAME` start from: command lines that programs run thousands of times,
    /// for which the parser's look at all options of all commands takes longer than starting a guest. Anything else, however slightly
    /// different, is the parser's.
    private static func plainSource(_ arguments: [String]) -> VMRunner.Source? {
        switch (arguments.first, arguments.count) {
        case ("run", 3) where arguments[1] == "--config" && !arguments[2].hasPrefix("-"):
            return .configuration(path: arguments[2])
        case ("restore", 2) where !arguments[1].hasPrefix("-"):
            return .snapshot(RestoreRequest(directory: arguments[1]))
        case ("restore", 4) where !arguments[1].hasPrefix("-") && arguments[2] == "--name" && !arguments[3].hasPrefix("-"):
            var request = RestoreRequest(directory: arguments[1])
            request.name = arguments[3]
            return .snapshot(request)
        default: return nil
        }
    }

    /// Prints the sentence and leaves with the error's exit code.
    private static func end(_ error: VMError) -> Never {
        StandardError.write("swvmm: \(error.message)\n")
        leave(with: error.code.rawValue)
    }
}
