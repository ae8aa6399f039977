import Virtio

/// The configuration space of a kernel's device as it was last read.
final class VdpaSpace: Sendable {
    private let vdpa: VhostVdpa
    private let size: Int
    let copy = ConfigurationCopy()

    init(_ vdpa: VhostVdpa) throws(VdpaError) {
        self.vdpa = vdpa
        // No device type of the specification has more.
        size = min(try vdpa.configurationSize(), 256)
        try refresh()
    }

    /// Who is told of changes.
    var announcements: Announcements { copy.announcements }

    /// Reads it anew.
    func refresh() throws(VdpaError) {
        guard size > 0 else { return }
        try copy.refresh { () throws(VdpaError) in try vdpa.configuration(count: size) }
    }

    /// The device says that it has changed, or that it cannot go on.
    func changed() {
        let moment = announcements.now
        try? refresh()
        // A device whose status cannot be read has gone.
        if (try? vdpa.status())?.contains(.needsReset) ?? true {
            announcements.needsReset(since: moment)
        } else {
            announcements.configurationChanged()
        }
    }
}
