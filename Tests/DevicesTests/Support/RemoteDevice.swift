import Host
import Synchronization
import VhostUser
import Virtio

/// A device as its driver's process sees it when the device lives in another one: behind a vhost-user connection, whose other end a thread
/// serves here.
final class RemoteDevice {
    let frontend: VhostUserFrontend
    private let worker: WorkerThread<VhostUserError?>

    convenience init(_ device: any VirtioDevice) throws {
        let served = try Self.serve(device)
        var profile = FrontendProfile(
            device.deviceType, label: device.debugLabel, queueCount: device.dataQueueCount,
            queueSize: device.queueMaxSizes.first ?? 1)
        profile.configurationSize = 60
        // Another back-end may come; nobody waits for it here.
        profile.recovery = 0
        guard let socket = served.socket.take() else { throw Timeout("a socket") }
        self.init(try VhostUserFrontend(socket, profile), served.worker)
    }

    private init(_ frontend: VhostUserFrontend, _ worker: WorkerThread<VhostUserError?>) {
        (self.frontend, self.worker) = (frontend, worker)
    }

    private static func serve(_ device: any VirtioDevice) throws -> (socket: Slot<OwnedDescriptor>, worker: WorkerThread<VhostUserError?>) {
        let pair = try SocketPair()
        let slot = Slot(try pair.second.duplicate())
        let worker = try WorkerThread(name: "backend", state: VhostUserError?.none) { failure, stop in
            guard let socket = slot.take() else { return }
            let backend = VhostUserBackend(device, takesControl: true) { _ in }
            do throws(VhostUserError) { try backend.serve(socket, stop: stop) } catch { failure = error }
        }
        return (Slot(try pair.first.duplicate()), worker)
    }

    /// Another device takes the place of the one that is served: it is handed over, or the first one's connection ends without a word.
    func replace(with device: any VirtioDevice, orderly: Bool) throws -> RemoteDevice {
        let served = try Self.serve(device)
        guard let socket = served.socket.take() else { throw Timeout("a socket") }
        if orderly {
            try frontend.handOver(to: socket)
        } else {
            _ = stop()
            try frontend.recover(socket)
        }
        return RemoteDevice(frontend, served.worker)
    }

    /// Ends the connection; what the back-end found wrong with it.
    func stop() -> VhostUserError? { worker.stop() ?? nil }
}
