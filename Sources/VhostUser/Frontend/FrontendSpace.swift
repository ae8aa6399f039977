import Virtio

/// A back-end's configuration space as it was last announced.
final class FrontendSpace: Sendable {
    private let overlay: [UInt8]
    let copy: ConfigurationCopy

    /// A space that is all zero yet, the beginning of which `overlay` hides.
    init(overlay: [UInt8]) {
        self.overlay = overlay
        copy = ConfigurationCopy(overlay)
    }

    /// Who is told of changes.
    var announcements: Announcements { copy.announcements }

    /// Tells the driver that the device cannot go on.
    func announceEnd() { announcements.needsReset(since: announcements.now) }

    /// The space is this one, but for what the overlay hides.
    func keep(_ configuration: [UInt8]) {
        if !configuration.isEmpty { copy.refresh { overlay + configuration.dropFirst(overlay.count) } }
    }

    /// Asks the back-end for the first `count` bytes of its space.
    func refresh(from connection: BackEndConnection, count: Int) throws(VhostUserError) {
        guard count > 0 else { return }
        try copy.refresh { () throws(VhostUserError) in
            overlay + (try connection.configuration(count: count)).dropFirst(overlay.count)
        }
    }

    /// Asks for the space because it has changed, and tells the driver; and if the device needs a reset, that.
    func refreshAndAnnounce(from connection: BackEndConnection, count: Int, knowsStatus: Bool) {
        let moment = announcements.now
        try? refresh(from: connection, count: count)
        let status = knowsStatus ? (try? connection.number(.getStatus)) ?? 0 : 0
        if status & UInt64(DeviceStatus.needsReset.rawValue) != 0 {
            announcements.needsReset(since: moment)
        } else {
            announcements.configurationChanged()
        }
    }
}
