import ArgumentParser
import Supervisor

/// `swvmm version`.
struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Print the version.")

    func run() { print("swvmm \(ProductVersion.string)") }
}
