import CLinux
import Devices
import Host
import Logging
import Machine
import VirtualMachine

/// `swvmm run`: from a configuration file to the guest's end.
public struct VMRunner: Sendable {
    private let path: String
    private let log: LogSettings

    /// Will run the configuration in the file at `path`.
    public init(path: String, log: LogSettings) {
        self.path = path
        self.log = log
    }

    /// Runs the VM until its end and says how that was.
    ///
    /// Throws what keeps it from starting, and what made it fail. Everything that was made for the VM is gone when this returns.
    public func run() throws(VMError) -> ExitCode {
        let handler = log
        LoggingSystem.bootstrap { handler.makeHandler(label: $0) }
        let file = try ConfigFile(path: path)
        ignoreBrokenPipes()
        let signals = try VMError.host("block signals") { () throws(SystemError) in
            try SignalEvents([SIGTERM, SIGINT, SIGHUP, SIGWINCH])
        }
        while true {
            let session = try VMSession(file.configuration, file: file.path)
            let end = try session.run(signals: signals)
            if end == .reset, file.configuration.onReboot == .restart { continue }
            return try code(of: end)
        }
    }

    /// The exit code of an end; one that is a failure is thrown as an error with its sentence.
    private func code(of end: MachineEnd) throws(VMError) -> ExitCode {
        switch end {
        case .powerOff: return .success
        case .reset: return .guestReset
        case .panic: return .guestPanic
        case .tripleFault: return .guestTripleFault
        case .stopped: return .stopped
        case .debugExit(let code): leave(with: Int32(code))
        case .hostCannot(let sentence):
            throw VMError(.host, "\(sentence) 'swvmm doctor' tells what this host can run.")
        case .failed(let sentence): throw VMError(.failure, sentence)
        }
    }
}

extension VMError {
    /// Runs a step that only the host can make fail, and says which it was.
    static func host<Result: ~Copyable>(_ step: String, _ body: () throws(SystemError) -> Result) throws(VMError) -> Result {
        do { return try body() } catch { throw VMError(.host, "The host could not \(step) (\(error)).") }
    }
}
