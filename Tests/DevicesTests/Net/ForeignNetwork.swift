import Host
import VhostUser
import Virtio

@testable import Devices

/// A network device whose frames are moved by a back-end that knows nothing of us, in another thread here, behind vhost-user.
final class ForeignNetwork {
    let device: NetworkDevice
    let frontend: VhostUserFrontend
    private let worker: WorkerThread<VhostUserError?>

    /// `backEnd` has `pairs` queue pairs and serves anybody.
    init(_ configuration: NetworkConfiguration, backEnd: any VirtioDevice, pairs: Int) throws {
        let sockets = try SocketPair()
        let slot = Slot(try sockets.second.duplicate())
        worker = try WorkerThread(name: "foreign", state: VhostUserError?.none) { failure, stop in
            guard let socket = slot.take() else { return }
            let backend = VhostUserBackend(backEnd, takesControl: false) { _ in }
            do throws(VhostUserError) { try backend.serve(socket, stop: stop) } catch { failure = error }
        }
        var profile = FrontendProfile(.network, label: "foreign", queueCount: 2 * pairs, queueSize: configuration.queueSize)
        profile.withheld = .netControl.union(.netFrontEnd)
        if pairs > 1 { profile.withheld.remove(.netMultiQueue) }
        let frontend = try VhostUserFrontend(try sockets.first.duplicate(), profile)
        self.frontend = frontend
        device = try NetworkDevice(configuration, beside: frontend, queuePairs: pairs) { (queues, isEnabled) throws(DeviceError) in
            try frontend.enable(queues, isEnabled)
        }
    }

    /// Ends the connection; what the back-end found wrong with it.
    func stop() -> VhostUserError? { worker.stop() ?? nil }
}
