/// Who writes memory that driver and device share.
public enum DMADirection: Sendable, Equatable {
    /// The driver writes, the device reads.
    case toDevice
    /// The device writes, the driver reads.
    case fromDevice
    /// Both do both: the descriptor ring of a packed queue.
    case both
}

/// Pages that a HAL has made for a ring: where the driver finds them, and where the device does.
public struct DMAMemory: Sendable {
    /// The driver's view.
    public let range: HostRange
    /// The device's view: a guest-physical or I/O virtual address.
    public let address: UInt64

    /// Memory that the driver sees as `range` and the device at `address`.
    @inlinable
    public init(_ range: HostRange, address: UInt64) {
        self.range = range
        self.address = address
    }
}

/// What a `VirtQueue` needs of the platform that its driver runs on: memory that the device can reach, the device itself, and a way to wait.
///
/// The queue copies its HAL. It is called with what the queue was given and never with what the device says; it is not called any more
/// once the queue is gone.
public protocol DriverHAL {
    /// How the driver reaches its device.
    associatedtype Transport: DriverTransport

    /// Makes `pages` pages of `dmaPageSize` bytes, zeroed, one behind the other for both sides, aligned to a page; nil when there is none.
    func allocate(pages: Int, _ direction: DMADirection) -> DMAMemory?

    /// Takes back what `allocate` made, with the same direction. The device does not use it any more.
    func deallocate(_ memory: DMAMemory, _ direction: DMADirection)

    /// Makes a buffer of the driver's, of at least one byte, visible to the device: maps it, or copies it to where the device can read it.
    /// From now on until `unshare` neither side but the device touches it.
    ///
    /// - Returns: where the device finds it; nil when that cannot be done now.
    func share(_ buffer: HostRange, _ direction: DMADirection) -> UInt64?

    /// Ends what `share` began, which returned `address`: unmaps, or copies back what the device has written. Called exactly once for each
    /// buffer that was shared, and only when the device has given it back or has been stopped.
    func unshare(_ address: UInt64, _ buffer: HostRange, _ direction: DMADirection)

    /// Called between two looks at a queue that has nothing yet, with a number that counts from 0.
    ///
    /// - Returns: whether to go on waiting.
    func wait(_ round: UInt64) -> Bool
}

/// The unit in which a `DriverHAL` makes memory, in bytes.
@inlinable public var dmaPageSize: Int { 4096 }

/// The memory of a queue's rings, freed when this goes.
@usableFromInline
struct QueueBlocks<HAL: DriverHAL>: ~Copyable {
    @usableFromInline let hal: HAL
    /// Descriptors and what else the driver writes; what the device writes; indirect tables.
    @usableFromInline var driver: DMAMemory?
    @usableFromInline var device: DMAMemory?
    @usableFromInline var tables: DMAMemory?
    @usableFromInline let driverDirection: DMADirection

    @inlinable
    init(_ hal: HAL, _ format: RingFormat) {
        self.hal = hal
        driver = nil
        device = nil
        tables = nil
        // The device gives packed descriptors back where it found them (2.8.2).
        driverDirection = format == .split ? .toDevice : .both
    }

    @inlinable
    deinit {
        if let tables { hal.deallocate(tables, .toDevice) }
        if let device { hal.deallocate(device, .fromDevice) }
        if let driver { hal.deallocate(driver, driverDirection) }
    }

    /// Allocates what a queue of that size takes and says where the parts are. What was allocated before a failure is freed with this.
    @inlinable
    mutating func allocate(
        size: UInt16, maxSize: UInt16, _ features: RingFeatures, tableEntries: UInt16
    ) throws(VirtQueueError) -> (QueueConfiguration, IndirectTables?) {
        let format = features.format
        let driverOffset = format.byteCount(of: .descriptor, size: size)
        let driver = try pages(driverOffset + format.byteCount(of: .driver, size: size), driverDirection)
        self.driver = driver
        let device = try pages(format.byteCount(of: .device, size: size), .fromDevice)
        self.device = device
        var configuration = QueueConfiguration(maxSize: maxSize)
        configuration.size = size
        configuration.descriptorArea = driver.address
        configuration.driverArea = driver.address &+ UInt64(driverOffset)
        configuration.deviceArea = device.address
        configuration.ready = true
        guard features.indirect, tableEntries > 1 else { return (configuration, nil) }
        var tables = IndirectTables(address: 0, entries: tableEntries)
        let memory = try pages(tables.byteCount(size: size), .toDevice)
        self.tables = memory
        tables.address = memory.address
        return (configuration, tables)
    }

    @inlinable
    func pages(_ bytes: Int, _ direction: DMADirection) throws(VirtQueueError) -> DMAMemory {
        let pages = (bytes + dmaPageSize - 1) / dmaPageSize
        guard let memory = hal.allocate(pages: pages, direction) else { throw .noMemory(pages: pages) }
        return memory
    }

    /// The same memory, as a ring looks things up.
    @inlinable var regions: DMARegions { DMARegions(driver: driver, device: device, tables: tables) }
}

/// Finds the parts of a ring in the blocks that were allocated for it. The buffers of its chains are not looked up: the device reads them.
@usableFromInline
struct DMARegions: QueueMemory {
    @usableFromInline let driver: DMAMemory?
    @usableFromInline let device: DMAMemory?
    @usableFromInline let tables: DMAMemory?

    @inlinable
    init(driver: DMAMemory?, device: DMAMemory?, tables: DMAMemory?) {
        self.driver = driver
        self.device = device
        self.tables = tables
    }

    @inlinable var tracksWrites: Bool { false }

    @inlinable
    func markWritten(_ range: HostRange) {}

    @inlinable
    func range(at address: UInt64, count: Int) -> HostRange? {
        Self.part(of: driver, address, count) ?? Self.part(of: device, address, count) ?? Self.part(of: tables, address, count)
    }

    @inlinable
    static func part(of memory: DMAMemory?, _ address: UInt64, _ count: Int) -> HostRange? {
        guard let memory, count >= 0, address >= memory.address else { return nil }
        let offset = address - memory.address
        let size = UInt64(memory.range.count)
        guard offset <= size, UInt64(count) <= size - offset else { return nil }
        return memory.range.slice(from: Int(offset), count: count)
    }
}
