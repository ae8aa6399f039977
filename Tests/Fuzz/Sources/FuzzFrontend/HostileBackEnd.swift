import FuzzSupport
import Host
import Synchronization
import VhostUser
import Virtio
import Virtqueue

/// What the back-ends of a run answer, one after the other.
final class Answers: Sendable {
    private let script: Mutex<Script>
    init(_ bytes: [UInt8]) { script = Mutex(Script(bytes)) }

    /// Takes something from the script.
    func read<Result: Sendable>(_ body: (inout Script) throws -> sending Result) rethrows -> Result {
        try script.withLock { try body(&$0) }
    }
}

/// Answers each request as the next step of a script says, and leaves when there is none.
final class HostileBackEnd: Sendable {
    private let frontEnd: Slot<OwnedDescriptor>
    private let worker: WorkerThread<Bool>

    /// Begins to answer on a thread of its own.
    init(_ answers: Answers) throws {
        let pair = try SocketPair()
        frontEnd = Slot(try pair.first.duplicate())
        let backEnd = Slot(try pair.second.duplicate())
        worker = try WorkerThread(name: "hostile", state: true) { _, stop in
            // What fails here the other side sees.
            if let socket = backEnd.take(), let script = try? HostileScript(socket, answers, stop: stop) { try? script.run() }
        }
    }

    /// What a front-end connects to: once.
    func socket() throws -> OwnedDescriptor {
        guard let socket = frontEnd.take() else { throw SystemError("socket", .invalidArgument) }
        return socket
    }
}
