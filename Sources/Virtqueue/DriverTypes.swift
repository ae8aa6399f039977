/// A buffer as the driver gives it to the device.
public struct DriverBuffer: Sendable, Equatable {
    /// Where the device finds it: a guest-physical or I/O virtual address.
    public var address: UInt64
    /// Its length in bytes.
    public var count: UInt32

    /// A buffer of `count` bytes at `address`.
    @inlinable
    public init(address: UInt64, count: UInt32) {
        self.address = address
        self.count = count
    }
}

/// Memory for the indirect descriptor tables of a driver's queue: one table for each descriptor of the queue, one behind the other.
public struct IndirectTables: Sendable, Equatable {
    /// Where the device finds the first table, best a multiple of 16.
    public var address: UInt64
    /// Entries per table, at most the queue size; longer chains are direct.
    public var entries: UInt16

    /// Tables of `entries` entries each from `address` on.
    @inlinable
    public init(address: UInt64, entries: UInt16) {
        self.address = address
        self.entries = entries
    }

    /// Bytes from one table to the next.
    @inlinable var stride: Int { DescriptorLayout.stride * Int(entries) }

    /// The bytes that the tables of a queue of `size` descriptors take.
    @inlinable
    public func byteCount(size: UInt16) -> Int { stride * Int(size) }
}

/// What keeps a driver from adding a chain, or what a device did wrong.
public enum DriverFault: Error, Equatable, Sendable {
    /// A chain without buffers.
    case noBuffers
    /// More buffers than the queue size (2.7.5.3.1, 2.8.6.1).
    case tooManyBuffers(Int, limit: UInt16)
    /// More than 2³²−1 bytes in one chain (2.7.5.2).
    case tooManyBytes(Int)
    /// Not enough free descriptors now; some become free when used chains are popped.
    case full(needed: Int, free: Int)
    /// The device's used index counts chains that were never made available.
    case usedIndex(UInt16, next: UInt16)
    /// The device returned an id that is not with it: never given, or returned before.
    case unknownBuffer(UInt32)
    /// The device claims to have written more bytes than the chain's writable buffers hold.
    case writtenTooMuch(UInt32, capacity: UInt32)
}

extension DriverFault: CustomStringConvertible {
    /// One sentence for the log.
    public var description: String {
        switch self {
        case .noBuffers: "a chain needs at least one buffer"
        case .tooManyBuffers(let count, let limit): "a chain has \(count) buffers, more than the queue size \(limit)"
        case .tooManyBytes(let count): "a chain has \(count) bytes, more than 4294967295"
        case .full(let needed, let free): "the queue has \(free) free descriptors, \(needed) are needed"
        case .usedIndex(let index, let next): "the device's used index \(index) is ahead of what was made available (next entry: \(next))"
        case .unknownBuffer(let id): "the device returned buffer \(id), which it does not hold"
        case .writtenTooMuch(let count, let capacity): "the device claims to have written \(count) bytes to buffers of \(capacity) bytes"
        }
    }
}

/// What the driver remembers about one descriptor (split) or id (packed).
@usableFromInline
struct DriverSlot {
    /// The next one in the list of free ones, or of the chain that it belongs to.
    @usableFromInline var next: UInt16
    /// For the head of a chain that is with the device: its last slot in the list and its number of descriptors, otherwise 0.
    @usableFromInline var last: UInt16 = 0
    @usableFromInline var count: UInt16 = 0
    /// Bytes of the writable buffers.
    @usableFromInline var writable: UInt32 = 0
    /// The chain's number since the queue's beginning.
    @usableFromInline var ticket: UInt64 = 0

    @inlinable
    init(next: UInt16) {
        self.next = next
    }
}
