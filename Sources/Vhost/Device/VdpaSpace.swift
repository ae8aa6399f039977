import Host
import Synchronization
import Virtio

/// The configuration space of a kernel's device as it was last read, so that reads of the driver wait for nobody; and who is told when it
/// changes.
final class VdpaSpace: Sendable {
    private let vdpa: VhostVdpa
    private let size: Int
    private let copy = Mutex<[UInt8]>([])
    /// Who is told of changes.
    let announcements = Announcements()

    init(_ vdpa: VhostVdpa) throws(VdpaError) {
        self.vdpa = vdpa
        // No device type of the specification has more.
        size = min(try vdpa.configurationSize(), 256)
        try refresh()
    }

    /// Reads it anew.
    func refresh() throws(VdpaError) {
        guard size > 0 else { return }
        let bytes = try vdpa.configuration(count: size)
        copy.withLock { $0 = bytes }
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

    func read(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        let copy = self.copy.withLock { $0 }
        for index in bytes.indices {
            let (position, overflow) = offset.addingReportingOverflow(index)
            bytes[index] = !overflow && copy.indices.contains(position) ? copy[position] : 0
        }
    }
}
