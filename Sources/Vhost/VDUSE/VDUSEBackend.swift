public import Host
public import Virtio

/// Offers a device to the host's kernel as a vDPA device, through `/dev/vduse/NAME` (linux/vduse.h): any `VirtioDevice`, as `VhostUserBackend`
/// does for other processes.
///
/// One driver at a time, as the kernel has it. Doorbells come from the kernel to the device's own thread; each used buffer notification is a
/// system call.
public final class VDUSEBackend: Sendable {
    private let device: any VirtioDevice
    private let kernel: any VDUSEKernel
    private let offer: VDUSEOffer
    private let report: @Sendable (String) -> Void

    private enum Token {
        static let kernel: UInt64 = 0
        static let stop: UInt64 = 1
    }

    /// Will serve `device`, which has no other host and was shown to the kernel as `offer`. `report` gets sentences about a driver's misdeeds,
    /// without the device's name.
    public init(
        _ device: any VirtioDevice, _ offer: VDUSEOffer, _ kernel: any VDUSEKernel, report: @escaping @Sendable (String) -> Void
    ) {
        (self.device, self.offer, self.kernel, self.report) = (device, offer, kernel, report)
    }

    /// Serves drivers until `stop` is signalled. The device stands still when this returns or throws.
    public func serve(stop: EventFD) throws(VdpaError) {
        try asked { () throws(SystemError) in
            var session = try VDUSESession(device, offer, kernel, report: report)
            defer { session.finish() }
            let poller = try Poller()
            try poller.add(kernel.rawValue, token: Token.kernel)
            try poller.add(stop.rawValue, token: Token.stop)
            while true {
                var isStopped = false
                try poller.wait { event in if event.token == Token.stop { isStopped = true } }
                if isStopped { return }
                while let request = try kernel.nextRequest() { try session.answer(request) }
            }
        }
    }
}
