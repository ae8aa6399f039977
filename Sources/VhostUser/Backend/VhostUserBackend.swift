public import Host
public import Virtio

/// Serves a device to vhost-user front-ends: QEMU, another VMM, or our own transports in another process.
///
/// One connection at a time. Between connections the device is inactive; what it has learnt of its driver is forgotten.
public final class VhostUserBackend: Sendable {
    private let device: any VirtioDevice
    private let report: @Sendable (String) -> Void
    private let takesControl: Bool

    /// Will serve `device`, which has no other host. `report` gets sentences about a front-end's or driver's misdeeds, without the
    /// device's name. `takesControl`: the front-end is its owner's, and may pass control requests on.
    public init(_ device: any VirtioDevice, takesControl: Bool = false, report: @escaping @Sendable (String) -> Void) {
        self.device = device
        self.takesControl = takesControl
        self.report = report
    }

    /// Serves one front-end until it leaves or `stop` is signalled. The device stands still when this returns or throws.
    public func serve(_ socket: consuming OwnedDescriptor, stop: EventFD) throws(VhostUserError) {
        let taken = Slot(socket)
        let connection = try hosted("use the connection") { () throws(SystemError) in
            guard let socket = taken.take() else { throw SystemError("connection", .invalidArgument) }
            return try MessageConnection(socket, stop: stop)
        }
        var session = BackendSession(device, stop: stop, takesControl: takesControl, report: report)
        do {
            while !stop.isSignalled, var message = try connection.receive() {
                try session.answer(&message, on: connection)
            }
        } catch {
            try? session.finish()
            throw error
        }
        try session.finish()
    }
}
