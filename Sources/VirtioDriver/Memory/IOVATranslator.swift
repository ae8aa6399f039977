import Synchronization
public import Virtqueue

/// The memory that a transport has shown to its device, for the transport, which changes it, and for queues, which look addresses up.
final class AddressBook: Sendable {
    private let space: Mutex<IOVASpace>
    /// Grows with each change, after it.
    let edition = Atomic<UInt64>(1)

    init(_ space: IOVASpace) { self.space = Mutex(space) }

    /// Changes it, or fails and leaves it.
    func change<Result>(_ body: (inout IOVASpace) throws(DriverError) -> Result) throws(DriverError) -> Result {
        let result = try space.withLock { (space) throws(DriverError) in try body(&space) }
        edition.add(1, ordering: .releasing)
        return result
    }

    var mappings: [IOVASpace.Mapping] { space.withLock { $0.mappings } }
}

/// Turns buffers of this process into the addresses under which the device knows them. Each queue has its own; it notices by itself when
/// memory comes or goes, and takes a lock only then.
public struct IOVATranslator: Sendable {
    private struct Entry: Sendable {
        let address: UInt64
        let count: UInt64
        let iova: UInt64
    }

    private let book: AddressBook
    private var entries: [Entry] = []
    private var edition: UInt64 = 0
    /// Buffers often lie where the one before did.
    private var latest = 0

    init(_ book: AddressBook) { self.book = book }

    /// The device's address of a buffer; nil unless all of it lies in one region that the device was shown.
    public mutating func translate(_ range: HostRange) -> UInt64? {
        let current = book.edition.load(ordering: .acquiring)
        if current != edition { refresh(current) }
        let address = range.address
        if latest < entries.count, let iova = Self.translate(address, range.count, entries[latest]) { return iova }
        for index in entries.indices {
            guard let iova = Self.translate(address, range.count, entries[index]) else { continue }
            latest = index
            return iova
        }
        return nil
    }

    private static func translate(_ address: UInt64, _ count: Int, _ entry: Entry) -> UInt64? {
        // An address below the region wraps to a huge offset and fails the same comparison.
        let offset = address &- entry.address
        guard offset < entry.count, UInt64(count) <= entry.count - offset else { return nil }
        return entry.iova + offset
    }

    private mutating func refresh(_ current: UInt64) {
        // What changes meanwhile bumps the edition again.
        entries = book.mappings.map { Entry(address: $0.memory.range.address, count: UInt64($0.memory.count), iova: $0.iova) }
        edition = current
        latest = 0
    }
}
