import ArgumentParser
import Schema
import Supervisor

/// `swvmm config`.
struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Check, show and explain configuration files.",
        subcommands: [Check.self, Show.self, Schema.self])

    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check a configuration file: syntax, keys, values. Opens nothing that it names.")
        @Argument(help: ArgumentHelp("The configuration file; '-' reads standard input.", valueName: "vm.json"))
        var file: String

        func run() throws {
            let config = try ConfigFile(path: file)
            print("\(config.path): the configuration of VM \"\(config.configuration.name)\" is valid.")
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print a configuration with every default filled in and every path absolute.")
        @Argument(help: ArgumentHelp("The configuration file; '-' reads standard input.", valueName: "vm.json"))
        var file: String

        func run() throws { print(JSONText.encode(try ConfigFile(path: file).resolved), terminator: "") }
    }

    struct Schema: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Print the JSON Schema of configuration files.")

        func run() throws { print(JSONText.encode(ConfigFile.schema()), terminator: "") }
    }
}
