import CLinux
import Devices
import Host
import Logging
import Machine
import VirtualMachine

/// `swvmm run` and `swvmm restore`: from a configuration or a snapshot to the guest's end.
public struct VMRunner: Sendable {
    /// What the VM starts from.
    public enum Source: Sendable {
        /// The configuration in a file, another name for the VM than it says, and whether the guest waits for `swvmm wake`.
        case configuration(path: String, name: String? = nil, asleep: Bool = false)
        /// A snapshot.
        case snapshot(RestoreRequest)
    }

    private let source: Source
    private let log: LogSettings

    /// Will run a VM.
    public init(_ source: Source, log: LogSettings) {
        self.source = source
        self.log = log
    }

    /// Runs the VM until its end and says how that was.
    ///
    /// Throws what keeps it from starting, and what made it fail. Everything that was made for the VM is gone when this returns.
    public func run() throws(VMError) -> ExitCode {
        let handler = log
        let hub = EventHub()
        LoggingSystem.bootstrap { label in
            handler.makeHandler(label: label) { hub.publishDeviceError(id: $0, message: $1) }
        }
        // Only now, when all is cleared away: a byte from the debug-exit port leaves the process at once.
        return try code(of: try untilEnd(hub))
    }

    /// Runs the VM, and its guest again after each reset if it is configured so, and clears away what was made for it.
    private func untilEnd(_ hub: EventHub) throws(VMError) -> MachineEnd {
        // A snapshot's state is read by a thread of its own from `start` on.
        makeRoomForDescriptors(512)
        let start = try start()
        let configuration = start.file.configuration
        ignoreBrokenPipes()
        let signals = try VMError.host("block signals") { () throws(SystemError) in
            try SignalEvents([SIGTERM, SIGINT, SIGHUP, SIGWINCH])
        }
        let vm = try RunningVM(configuration, document: start.file.resolved, hub: hub)
        let directory = try RuntimeDirectory.claim(name: configuration.name)
        var origin = start.origin
        var asleep = start.asleep
        var control: ControlStart?
        defer {
            control?.stop()
            directory.remove()
        }
        while true {
            let session = try VMSession(configuration, file: start.file.path, origin: origin, asleep: asleep, vm: vm, log: log)
            // After the guest has begun: nobody can ask for it before.
            let door: ControlStart
            do throws(VMError) {
                if let control { door = control } else { door = try ControlStart(vm, directory, hub) }
            } catch {
                _ = session.abandon()
                throw error
            }
            control = door
            let ending = try session.run(signals: signals, control: door)
            if let failure = door.failure { throw failure }
            if ending.end == .panic { hub.publishPanic() }
            hub.publishState("stopped")
            if ending.end == .reset, configuration.onReboot == .restart, !ending.wasAsked {
                (origin, asleep) = (.kernel, false)
                continue
            }
            return ending.end
        }
    }

    private struct Start {
        let file: ConfigFile
        let origin: Planner.Origin
        let asleep: Bool
    }

    private func start() throws(VMError) -> Start {
        switch source {
        case .configuration(let path, let name, let asleep):
            return Start(file: try ConfigFile(path: path, name: name), origin: .kernel, asleep: asleep)
        case .snapshot(let request):
            let snapshot = try SavedSnapshot(path: request.directory, base: request.base)
            // What a guest may have written is read by its machine. Where that is in this process, it is read beside everything else.
            let state = try request.isolation(of: snapshot.configuration) == .process ? nil : snapshot.beginReadingState()
            if request.verify, try snapshot.verifyMemory() < snapshot.layers.count {
                throw VMError(.resource, "\(snapshot.path): no digest of RAM was written; '--digest' of 'swvmm snapshot' does.")
            }
            let file = try ConfigFile(
                document: try request.apply(to: snapshot.configuration), path: "\(snapshot.path)/\(SnapshotFiles.configuration)")
            return Start(file: file, origin: .snapshot(snapshot, state, request), asleep: request.asleep)
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
