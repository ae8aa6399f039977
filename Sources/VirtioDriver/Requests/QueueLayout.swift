import Virtqueue

/// Where the parts of one queue lie in memory that its driver shares with the device: the three areas of the ring, tables for indirect
/// descriptors, and what each request needs besides its data.
struct QueueLayout: Sendable, Equatable {
    let size: UInt16
    let driverArea: Int
    let deviceArea: Int
    let tables: Int
    let requests: Int
    /// Bytes from one request to the next.
    let requestStride: Int
    /// Entries of an indirect table; 0: there are none.
    let tableEntries: UInt16
    /// Bytes of the whole, a multiple of the page size, so that queues can lie one behind the other.
    let byteCount: Int

    /// A queue of `size` descriptors, whose requests need `requestBytes` each.
    init(size: UInt16, features: RingFeatures, requestBytes: Int, tableEntries: UInt16) {
        func next(_ end: Int, _ alignment: Int) -> Int { (end + alignment - 1) & ~(alignment - 1) }
        let format = features.format
        self.size = size
        self.tableEntries = features.indirect ? min(tableEntries, size) : 0
        // A cache line apart: the device's area and the driver's are written by different processors.
        driverArea = next(format.byteCount(of: .descriptor, size: size), 64)
        deviceArea = next(driverArea + format.byteCount(of: .driver, size: size), 64)
        tables = next(deviceArea + format.byteCount(of: .device, size: size), 64)
        let tableBytes = self.tableEntries > 0 ? IndirectTables(address: 0, entries: self.tableEntries).byteCount(size: size) : 0
        requests = next(tables + tableBytes, 64)
        requestStride = next(requestBytes, 16)
        byteCount = next(requests + requestStride * Int(size), SharedMemory.pageSize)
    }

    /// The registers of the queue when it begins at `address`.
    func configuration(at address: UInt64) -> QueueConfiguration {
        var configuration = QueueConfiguration(maxSize: size)
        configuration.descriptorArea = address
        configuration.driverArea = address + UInt64(driverArea)
        configuration.deviceArea = address + UInt64(deviceArea)
        configuration.ready = true
        return configuration
    }
}

/// The memory of one queue, as its driver sees it.
struct QueueBlock: QueueMemory, Sendable {
    let iova: UInt64
    let range: HostRange

    func range(at address: UInt64, count: Int) -> HostRange? {
        let offset = address &- iova
        guard count >= 0, offset <= UInt64(range.count), UInt64(count) <= UInt64(range.count) - offset else { return nil }
        return range.slice(from: Int(offset), count: count)
    }

    /// Nobody asks what a driver writes.
    var tracksWrites: Bool { false }
    func markWritten(_ range: HostRange) {}
}
