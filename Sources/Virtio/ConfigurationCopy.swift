import Synchronization

/// The configuration space of a device that is in another process or the kernel, as it was last read, so that reads of the driver wait for
/// nobody; and who is told when it changes.
package final class ConfigurationCopy: Sendable {
    /// Held while the device is asked, and so apart from the bytes: an answer is kept before the next one is asked for, else an old one could
    /// take a newer one's place.
    private let asking = Mutex(())
    private let copy: Mutex<[UInt8]>
    /// Who is told of changes.
    package let announcements = Announcements()

    /// A space of which that much is known.
    package init(_ bytes: [UInt8] = []) { copy = Mutex(bytes) }

    /// The space as it is known.
    package var bytes: [UInt8] { copy.withLock { $0 } }

    /// Reads as a driver does: what lies beyond the space is zero.
    package func read(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        let copy = self.bytes
        for index in bytes.indices {
            let (position, overflow) = offset.addingReportingOverflow(index)
            bytes[index] = !overflow && copy.indices.contains(position) ? copy[position] : 0
        }
    }

    /// Keeps what `ask` answers.
    package func refresh<Failure>(_ ask: () throws(Failure) -> [UInt8]) throws(Failure) {
        try asking.withLock { _ throws(Failure) in
            let fresh = try ask()
            copy.withLock { $0 = fresh }
        }
    }
}
