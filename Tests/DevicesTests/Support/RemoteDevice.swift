import Host
import Synchronization
import VhostUser
import Virtio

/// A device as its driver's process sees it when the device lives in another one: behind a vhost-user connection, whose other end a thread
/// serves here.
final class RemoteDevice {
    let frontend: VhostUserFrontend
    private let worker: WorkerThread<VhostUserError?>

    init(_ device: any VirtioDevice) throws {
        let pair = try SocketPair()
        let slot = Slot(try pair.second.duplicate())
        worker = try WorkerThread(name: "backend", state: VhostUserError?.none) { failure, stop in
            guard let socket = slot.take() else { return }
            let backend = VhostUserBackend(device) { _ in }
            do throws(VhostUserError) { try backend.serve(socket, stop: stop) } catch { failure = error }
        }
        var profile = FrontendProfile(
            device.deviceType, label: device.debugLabel, queueCount: device.dataQueueCount,
            queueSize: device.queueMaxSizes.first ?? 1)
        profile.configurationSize = 60
        profile.isStateless = true
        frontend = try VhostUserFrontend(try pair.first.duplicate(), profile)
    }

    /// Ends the connection; what the back-end found wrong with it.
    func stop() -> VhostUserError? { worker.stop() ?? nil }
}
