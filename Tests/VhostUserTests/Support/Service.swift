import Devices
import Host
import Synchronization
import Virtio

@testable import VhostUser

/// A device behind a back-end, to which a test connects as often as it likes.
final class Service {
    let device: any VirtioDevice
    private let backend: VhostUserBackend
    private let sentences = Sentences()

    private final class Sentences: Sendable {
        let all = Mutex<[String]>([])
    }

    init(_ device: any VirtioDevice) {
        self.device = device
        backend = VhostUserBackend(device) { [sentences] sentence in sentences.all.withLock { $0.append(sentence) } }
    }

    /// An entropy device: the simplest one that does something.
    convenience init() throws {
        var configuration = EntropyConfiguration(label: "rng")
        configuration.packedRing = true
        self.init(try EntropyDevice(configuration))
    }

    /// What the back-end had to say about its front-ends and drivers.
    var reports: [String] { sentences.all.withLock { $0 } }

    /// Whether somebody has left the device running. Stops it then.
    func wasLeftActive() throws -> Bool { try device.sleep() != nil }

    /// A new connection, with a thread that serves it.
    func connect() throws -> ServedConnection { try ServedConnection(backend) }
}

/// One connection to a back-end.
final class ServedConnection {
    let peer: RawPeer
    private let worker: WorkerThread<VhostUserError?>
    private let ended: EventFD

    init(_ backend: VhostUserBackend) throws {
        let pair = try SocketPair()
        let slot = Slot(try pair.second.duplicate())
        let ended = try EventFD()
        self.ended = ended
        worker = try WorkerThread(name: "backend", state: VhostUserError?.none) { failure, stop in
            defer { ended.signal() }
            guard let socket = slot.take() else { return }
            do throws(VhostUserError) { try backend.serve(socket, stop: stop) } catch { failure = error }
        }
        peer = try RawPeer(try pair.first.duplicate())
    }

    /// Waits until the back-end has ended the connection by itself; what it found wrong with it.
    func failure() throws -> VhostUserError? {
        guard ended.wait(timeoutMilliseconds: Timeout.patience) else { throw Timeout("the end of a connection") }
        return worker.stop() ?? nil
    }

    /// Tells the back-end to stop; what it found wrong with the connection before.
    func stop() -> VhostUserError? { worker.stop() ?? nil }
}
