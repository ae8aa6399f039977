public import ArgumentParser
public import Supervisor

/// `swvmm run`.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Boot a guest and stay until it ends.",
        discussion: """
            On a terminal, Ctrl-A x ends the VM, Ctrl-A h shows all keys. SIGTERM presses the guest's power button, and forces \
            the end after the configuration's 'shutdownTimeout'.
            """)

    @Option(name: .shortAndLong, help: ArgumentHelp("The configuration file; '-' reads standard input.", valueName: "vm.json"))
    var config: String

    @Option(help: "Another name for the VM than the configuration says.")
    var name: String?

    @Flag(help: "Start asleep: nothing runs before 'swvmm wake'.")
    var asleep = false

    @OptionGroup var logging: LoggingOptions

    mutating func run() throws {
        let code = try VMRunner(.configuration(path: config, name: name, asleep: asleep), log: logging.log).run()
        if code != .success { throw ArgumentParser.ExitCode(code.rawValue) }
    }
}

/// Options that every command with log output has.
struct LoggingOptions: ParsableArguments {
    @Option(help: "How much to log to standard error: trace, debug, info, notice, warning, error.")
    var logLevel: LogLevel = .notice

    @Option(help: "Log lines as text or as JSON.")
    var logFormat: LogFormat = .text

    var log: LogSettings { LogSettings(level: logLevel, format: logFormat) }
}

extension LogLevel: ExpressibleByArgument {}
extension LogFormat: ExpressibleByArgument {}
