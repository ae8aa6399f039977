import Synchronization
import Virtio

/// A back-end's configuration space as it was last announced: reads of the driver wait for nobody.
final class ConfigurationCopy: Sendable {
    private struct State {
        var bytes: [UInt8] = []
        var interrupt: Interrupt?
    }

    private let overlay: [UInt8]
    private let state = Mutex(State())

    /// A space that is all zero yet, the beginning of which `overlay` hides.
    init(overlay: [UInt8]) {
        self.overlay = overlay
        state.withLock { $0.bytes = overlay }
    }

    /// The space as it is known.
    var bytes: [UInt8] { state.withLock { $0.bytes } }

    /// From now on changes are announced there.
    func announce(to interrupt: Interrupt?) { state.withLock { $0.interrupt = interrupt } }

    /// Tells the driver that the device cannot go on.
    func announceEnd() { state.withLock { $0.interrupt }?.needsReset() }

    func read(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        let copy = state.withLock { $0.bytes }
        for index in bytes.indices {
            let (position, overflow) = offset.addingReportingOverflow(index)
            bytes[index] = !overflow && copy.indices.contains(position) ? copy[position] : 0
        }
    }

    /// Asks the back-end for the first `count` bytes of its space; whether they have changed.
    @discardableResult
    func refresh(from connection: BackEndConnection, count: Int) throws(VhostUserError) -> Bool {
        guard count > 0 else { return false }
        let fresh = overlay + (try connection.configuration(count: count)).dropFirst(overlay.count)
        return state.withLock { state in
            defer { state.bytes = fresh }
            return state.bytes != fresh
        }
    }

    /// Asks for the space because it has changed, and tells the driver; and if the device needs a reset, that.
    func refreshAndAnnounce(from connection: BackEndConnection, count: Int, knowsStatus: Bool) {
        _ = try? refresh(from: connection, count: count)
        guard let interrupt = state.withLock({ $0.interrupt }) else { return }
        let status = knowsStatus ? (try? connection.number(.getStatus)) ?? 0 : 0
        if status & UInt64(DeviceStatus.needsReset.rawValue) != 0 {
            interrupt.needsReset()
        } else {
            interrupt.signalConfigurationChange()
        }
    }
}
