import Synchronization
import Virtio

/// A back-end's configuration space as it was last announced: reads of the driver wait for nobody.
final class ConfigurationCopy: Sendable {
    private let overlay: [UInt8]
    private let copy: Mutex<[UInt8]>
    /// Who is told of changes.
    let announcements = Announcements()

    /// A space that is all zero yet, the beginning of which `overlay` hides.
    init(overlay: [UInt8]) {
        self.overlay = overlay
        copy = Mutex(overlay)
    }

    /// The space as it is known.
    var bytes: [UInt8] { copy.withLock { $0 } }

    /// Tells the driver that the device cannot go on.
    func announceEnd() { announcements.needsReset(since: announcements.now) }

    func read(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        let copy = self.bytes
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
        return copy.withLock { copy in
            defer { copy = fresh }
            return copy != fresh
        }
    }

    /// Asks for the space because it has changed, and tells the driver; and if the device needs a reset, that.
    func refreshAndAnnounce(from connection: BackEndConnection, count: Int, knowsStatus: Bool) {
        let moment = announcements.now
        _ = try? refresh(from: connection, count: count)
        let status = knowsStatus ? (try? connection.number(.getStatus)) ?? 0 : 0
        if status & UInt64(DeviceStatus.needsReset.rawValue) != 0 {
            announcements.needsReset(since: moment)
        } else {
            announcements.configurationChanged()
        }
    }
}
