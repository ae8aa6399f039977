import Devices
import Host
import Logging
import Vhost
import VhostUser
import Virtio

/// Whom a device's process serves.
protocol DeviceService {
    /// Serves until `stop` is signalled, or until nobody can come any more; what kept it from that.
    func serve(_ device: any VirtioDevice, stop: EventFD) -> (any Error)?
}

/// vhost-user front-ends.
struct SocketService: DeviceService {
    private let socket: Slot<DeviceSocket>
    private let isOwn: Bool
    private let logger: Logger

    init(_ socket: consuming DeviceSocket, isOwn: Bool, logger: Logger) {
        self.socket = Slot(socket)
        self.isOwn = isOwn
        self.logger = logger
    }

    func serve(_ device: any VirtioDevice, stop: EventFD) -> (any Error)? {
        socket.take()?.serve(device, isOwn: isOwn, logger: logger, stop: stop)
    }
}

/// The host's kernel.
struct VDUSEService: DeviceService {
    private let node: VDUSENode
    private let settings: DeviceSettings
    private let logger: Logger

    init(_ node: VDUSENode, _ settings: DeviceSettings, logger: Logger) {
        (self.node, self.settings, self.logger) = (node, settings, logger)
    }

    func serve(_ device: any VirtioDevice, stop: EventFD) -> (any Error)? {
        let logger = logger
        do throws(VdpaError) {
            try VDUSEBackend(device, settings.vduseOffer(device), node) { logger.warning("\($0)") }.serve(stop: stop)
            return nil
        } catch {
            return error
        }
    }
}

extension DeviceSettings {
    /// What the host's kernel is shown of the device.
    func vduseOffer(_ device: any VirtioDevice) -> VDUSEOffer {
        VDUSEOffer(device, configurationSize: BlockSettings.configurationSpaceSize)
    }
}
