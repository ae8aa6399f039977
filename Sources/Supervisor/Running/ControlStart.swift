import Host
import Synchronization

/// The control server of a VM, started on a thread of its own.
///
/// That takes longer than starting a guest, and the loop that passes the guest's output on is not to wait for it. Clients can connect as soon
/// as this is made, and are answered a moment later.
final class ControlStart: Sendable {
    private enum Outcome: Sendable {
        case running(ControlServer)
        case failed(VMError)
    }

    /// What the thread and its owner share.
    private final class Result: Sendable {
        let outcome = Mutex<Outcome?>(nil)
    }

    private let result: Result
    private let thread: WorkerThread<Bool>

    /// Listens, and starts the server. A VM whose server cannot start is stopped at once: nobody could reach it.
    init(_ vm: RunningVM, _ directory: RuntimeDirectory, _ hub: EventHub) throws(VMError) {
        let result = Result()
        let socket = Slot(try ControlServer.listen(in: directory))
        self.result = result
        thread = try VMError.host("start a thread") { () throws(SystemError) in
            try WorkerThread(name: "control-start", state: true) { _, _ in
                guard let socket = socket.take() else { return }
                do throws(VMError) {
                    let server = try ControlServer.start(on: socket, vm: vm, directory: directory, hub: hub)
                    result.outcome.withLock { $0 = .running(server) }
                } catch {
                    result.outcome.withLock { $0 = .failed(error) }
                    vm.stop(force: true)
                }
            }
        }
    }

    /// Why there is no server; nil while it starts and when it runs.
    var failure: VMError? {
        guard case .failed(let error)? = result.outcome.withLock({ $0 }) else { return nil }
        return error
    }

    /// Ends the server, as `ControlServer.stop` does.
    func stop() {
        _ = thread.stop()
        if case .running(let server)? = result.outcome.withLock({ $0 }) { server.stop() }
    }
}
