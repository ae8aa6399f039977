import Host
import Synchronization
import Virtio

/// The configuration space of a kernel's device as it was last read, so that reads of the driver wait for nobody; and who is told when it
/// changes.
final class VdpaSpace: Sendable {
    private struct State {
        var bytes: [UInt8] = []
        var interrupt: Interrupt?
    }

    private let vdpa: VhostVdpa
    private let size: Int
    private let state = Mutex(State())

    init(_ vdpa: VhostVdpa) throws(VdpaError) {
        self.vdpa = vdpa
        // No device type of the specification has more.
        size = min(try vdpa.configurationSize(), 256)
        try refresh()
    }

    /// From now on changes are announced there.
    func announce(to interrupt: Interrupt?) { state.withLock { $0.interrupt = interrupt } }

    /// Reads it anew.
    func refresh() throws(VdpaError) {
        guard size > 0 else { return }
        let bytes = try vdpa.configuration(count: size)
        state.withLock { $0.bytes = bytes }
    }

    /// The device says that it has changed, or that it cannot go on.
    func changed() {
        try? refresh()
        guard let interrupt = state.withLock({ $0.interrupt }) else { return }
        // A device whose status cannot be read has gone.
        if (try? vdpa.status())?.contains(.needsReset) ?? true {
            interrupt.needsReset()
        } else {
            interrupt.signalConfigurationChange()
        }
    }

    func read(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        let copy = state.withLock { $0.bytes }
        for index in bytes.indices {
            let (position, overflow) = offset.addingReportingOverflow(index)
            bytes[index] = !overflow && copy.indices.contains(position) ? copy[position] : 0
        }
    }
}
