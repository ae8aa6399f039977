import ArgumentParser
import Schema
import Supervisor

/// `swvmm doctor`.
struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Tell what this host can do, and what to do about what it cannot.",
        discussion: "Ends with 0 when a Linux guest can run here, and with 69 when it cannot.")

    @Flag(help: "Print the findings as JSON.")
    var json = false

    func run() throws {
        let findings = Doctor.examine()
        print(json ? JSONText.encode(findings.json) : findings.text, terminator: "")
        if !findings.canRunLinux { throw ArgumentParser.ExitCode(Supervisor.ExitCode.host.rawValue) }
    }
}
