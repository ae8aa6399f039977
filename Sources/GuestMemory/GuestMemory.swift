import CAtomics
import Glibc
public import Host
public import Virtqueue

/// One contiguous stretch of guest RAM.
@safe public struct MemoryRegion: Sendable {
    /// Guest physical address of the first byte.
    public let guestAddress: UInt64
    /// The host memory behind it.
    public let range: HostRange
    /// Where the region begins in RAM as a whole, and in the memory file if there is one.
    public let fileOffset: UInt64

    /// Size in bytes.
    public var size: UInt64 { UInt64(range.count) }
    /// Guest physical address just after the last byte.
    public var end: UInt64 { guestAddress + size }
}

/// Guest RAM, and the only way to touch it: every access is translated and checked against the regions.
///
/// It is private to the process as long as all devices live there: anonymous memory has huge pages, which spare a booting guest nine page
/// faults of ten, where memory files have none on most hosts. RAM for several processes is one memfd, sealed against shrinking and growing,
/// because a process that could truncate it would make every other one fault. Regions never change once made.
public final class GuestMemory: QueueMemory, Sendable {
    /// The regions, in ascending order of guest address.
    public let regions: [MemoryRegion]
    private let file: OwnedDescriptor?

    private let mapping: MemoryMapping
    @usableFromInline let table: RegionTable

    /// Makes RAM for the given guest ranges: ascending, not overlapping, each a non-zero multiple of 4096 bytes. `isShared` makes it a memory
    /// file, for other processes to map.
    public init(ranges: [Range<UInt64>], isShared: Bool = false) throws(SystemError) {
        var total: UInt64 = 0
        var previousEnd: UInt64 = 0
        for range in ranges {
            guard range.lowerBound >= previousEnd, !range.isEmpty, range.lowerBound % 4096 == 0, range.upperBound % 4096 == 0 else {
                throw SystemError("guest memory", .invalidArgument)
            }
            previousEnd = range.upperBound
            total += range.upperBound - range.lowerBound
        }
        guard let size = Int(exactly: total), size > 0 else { throw SystemError("guest memory", .invalidArgument) }
        var file: OwnedDescriptor?
        if isShared {
            let made = try makeMemoryFile(name: "swvmm-ram", size: total)
            try made.seal()
            file = consume made
        }
        // What a boot loader leaves lies below the first boundary of huge pages, here and there: 2 MiB to clear for a few KiB.
        mapping = try MemoryMapping(guestMemory: size, file: file, hugePagesFrom: MemoryMapping.hugePage)
        self.file = consume file
        var regions: [MemoryRegion] = []
        var offset: UInt64 = 0
        for range in ranges {
            let length = range.upperBound - range.lowerBound
            regions.append(
                MemoryRegion(
                    guestAddress: range.lowerBound, range: mapping.range.slice(from: Int(offset), count: Int(length)), fileOffset: offset))
            offset += length
        }
        self.regions = regions
        table = RegionTable(regions)
    }

    /// The descriptor of the sealed memory file, to hand to another process; nil when RAM is private to this one. It lives as long as the RAM.
    public var rawFileDescriptor: Int32? {
        switch file {
        case .some(let file): file.rawValue
        case .none: nil
        }
    }

    /// Total size of RAM in bytes.
    public var size: UInt64 { UInt64(mapping.range.count) }

    /// The host memory behind `count` bytes at guest physical `address`; nil unless all of it lies in one region.
    @inlinable
    public func range(at address: UInt64, count: Int) -> HostRange? { table.range(at: address, count: count) }

    /// Notes a write by a device. Dirty logging hooks in here.
    @inlinable
    public func markWritten(_ range: HostRange) {}

    /// A little-endian integer at guest physical `address`; nil outside RAM.
    public func load<T: FixedWidthInteger>(at address: UInt64, as type: T.Type = T.self) -> T? {
        range(at: address, count: MemoryLayout<T>.size)?.load(at: 0)
    }

    /// Stores a little-endian integer; false (and nothing written) outside RAM.
    @discardableResult
    public func store<T: FixedWidthInteger>(_ value: T, at address: UInt64) -> Bool {
        guard let range = range(at: address, count: MemoryLayout<T>.size) else { return false }
        return range.store(value, at: 0)
    }

    /// Copies bytes into RAM; false (and nothing written) unless all of them fit into one region.
    @discardableResult
    public func write(_ bytes: RawSpan, at address: UInt64) -> Bool {
        guard let range = range(at: address, count: bytes.byteCount) else { return false }
        return range.copy(from: bytes) == bytes.byteCount
    }

    /// Copies bytes into RAM; false (and nothing written) unless all of them fit into one region.
    @discardableResult
    public func write(_ bytes: [UInt8], at address: UInt64) -> Bool { write(bytes.span.untyped, at: address) }

    /// Copies `count` bytes out of RAM; nil unless all of them lie in one region.
    public func read(at address: UInt64, count: Int) -> [UInt8]? {
        guard let range = range(at: address, count: count) else { return nil }
        var bytes = [UInt8](repeating: 0, count: range.count)
        var span = bytes.mutableSpan
        var raw = span.untyped
        range.copy(to: &raw)
        return bytes
    }
}

/// The regions as plain memory: a look-up that the hot path can inline, without touching a Swift array.
@usableFromInline @safe
final class RegionTable: @unchecked Sendable {
    // Sendable: written once in init, only read afterwards.
    @usableFromInline let first: UnsafeMutablePointer<Entry>
    @usableFromInline let count: Int

    @usableFromInline @safe
    struct Entry {
        @usableFromInline let guestAddress: UInt64
        @usableFromInline let size: UInt64
        @usableFromInline let base: UnsafeMutableRawPointer
    }

    init(_ regions: [MemoryRegion]) {
        count = regions.count
        unsafe first = .allocate(capacity: regions.count)
        for (index, region) in regions.enumerated() {
            unsafe (first + index).initialize(
                to: Entry(guestAddress: region.guestAddress, size: region.size, base: region.range.base))
        }
    }

    deinit { unsafe first.deallocate() }

    @inlinable
    func range(at address: UInt64, count length: Int) -> HostRange? {
        guard length >= 0 else { return nil }
        for index in 0..<count {
            let entry = unsafe first + index
            let offset = unsafe address &- entry.pointee.guestAddress
            // An address below the region wraps to a huge offset and fails the same comparison.
            if unsafe offset < entry.pointee.size, unsafe UInt64(length) <= entry.pointee.size - offset {
                return unsafe HostRange(base: entry.pointee.base + Int(offset), count: length)
            }
        }
        return nil
    }
}
