import Synchronization
import Virtio

/// A back-end's configuration space as it was last announced: reads of the driver wait for nobody.
final class ConfigurationCopy: Sendable {
    private struct State {
        var bytes: [UInt8] = []
        var interrupt: Interrupt?
    }

    private let size: Int
    private let overlay: [UInt8]
    private let state = Mutex(State())

    /// A space of `size` bytes that is all zero yet, the beginning of which `overlay` hides.
    init(size: Int, overlay: [UInt8]) {
        self.size = size
        self.overlay = overlay
        state.withLock { $0.bytes = overlay }
    }

    /// From now on changes are announced there.
    func announce(to interrupt: Interrupt?) { state.withLock { $0.interrupt = interrupt } }

    func read(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        let copy = state.withLock { $0.bytes }
        for index in bytes.indices {
            let (position, overflow) = offset.addingReportingOverflow(index)
            bytes[index] = !overflow && copy.indices.contains(position) ? copy[position] : 0
        }
    }

    /// Asks the back-end for its space.
    func refresh(from connection: BackEndConnection) throws(VhostUserError) {
        guard size > 0 else { return }
        let fresh = try connection.configuration(count: size)
        state.withLock { $0.bytes = overlay + fresh.dropFirst(overlay.count) }
    }

    /// Asks for the space because it has changed, and tells the driver; and if the device needs a reset, that.
    func refreshAndAnnounce(from connection: BackEndConnection, knowsStatus: Bool) {
        try? refresh(from: connection)
        guard let interrupt = state.withLock({ $0.interrupt }) else { return }
        let status = knowsStatus ? (try? connection.number(.getStatus)) ?? 0 : 0
        if status & UInt64(DeviceStatus.needsReset.rawValue) != 0 {
            interrupt.needsReset()
        } else {
            interrupt.signalConfigurationChange()
        }
    }
}
