import Host
import Synchronization
import Virtio

/// A device's way back to a driver in the host's kernel.
final class VDUSESignals: InterruptSink {
    private let kernel: any VDUSEKernel
    private let device: any VirtioDevice
    private let configurationSize: Int
    private let report: @Sendable (String) -> Void
    private let failed = Atomic(false)

    init(
        _ kernel: any VDUSEKernel, _ device: any VirtioDevice, configurationSize: Int, report: @escaping @Sendable (String) -> Void
    ) {
        (self.kernel, self.device, self.configurationSize, self.report) = (kernel, device, configurationSize, report)
    }

    /// The driver begins anew.
    func clearFailure() { failed.store(false, ordering: .releasing) }

    func queueUsed(_ queue: Int) { try? kernel.injectInterrupt(queue) }

    func configurationChanged() {
        let bytes = VDUSEOffer.configuration(of: device, count: configurationSize)
        do throws(SystemError) { try kernel.setConfiguration(bytes) } catch {
            report("its driver cannot be told of another configuration (\(error))")
        }
    }

    /// The kernel has no ear for DEVICE_NEEDS_RESET: its owner learns of it.
    func deviceNeedsReset() {
        guard !failed.exchange(true, ordering: .acquiringAndReleasing) else { return }
        report("cannot go on until its driver resets it, of which the driver cannot be told")
    }
}
