import Host
import Synchronization

/// The control server of a VM, started when the first client comes.
///
/// Starting it takes longer than starting a guest and needs threads and memory, and many a VM lives and ends without a client. Clients can
/// connect as soon as this is made; the first is answered some milliseconds later. The server starts on a thread of its own, because the
/// loop that notices the client also passes the guest's output on.
final class ControlStart: Sendable {
    private enum Outcome: Sendable {
        case running(ControlServer)
        case failed(VMError)
    }

    /// What the thread and its owner share.
    private final class Result: Sendable {
        let outcome = Mutex<Outcome?>(nil)
    }

    private let vm: RunningVM
    private let directory: RuntimeDirectory
    private let hub: EventHub
    /// Where clients knock until the server has it.
    private let socket: Mutex<OwnedDescriptor?>
    private let thread = Mutex<WorkerThread<Bool>?>(nil)
    private let result = Result()

    /// Listens.
    init(_ vm: RunningVM, _ directory: RuntimeDirectory, _ hub: EventHub) throws(VMError) {
        self.vm = vm
        self.directory = directory
        self.hub = hub
        socket = Mutex(try ControlServer.listen(in: directory))
    }

    /// Readable when the first client has come: call `open` then. Nil once that was done.
    var doorbell: Int32? { socket.withLock { $0?.rawValue } }

    /// Begins to start the server. A VM whose server cannot start is stopped at once: nobody could reach it.
    func open() {
        guard let socket = socket.withLock({ $0.take() }) else { return }
        do throws(VMError) {
            let starting = try start(on: Slot(socket))
            thread.withLock { $0 = starting }
        } catch {
            result.outcome.withLock { $0 = .failed(error) }
            vm.stop(force: true)
        }
    }

    private func start(on socket: Slot<OwnedDescriptor>) throws(VMError) -> WorkerThread<Bool> {
        let (vm, directory, hub, result) = (vm, directory, hub, result)
        return try VMError.host("start a thread") { () throws(SystemError) in
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

    /// Why there is no server; nil while there may yet be one.
    var failure: VMError? {
        guard case .failed(let error)? = result.outcome.withLock({ $0 }) else { return nil }
        return error
    }

    /// Ends the server, as `ControlServer.stop` does, or the listening.
    func stop() {
        if socket.withLock({ $0.take() }) != nil { removeFile(directory.socketPath) }
        _ = thread.withLock { $0 }?.stop()
        if case .running(let server)? = result.outcome.withLock({ $0 }) { server.stop() }
    }
}
