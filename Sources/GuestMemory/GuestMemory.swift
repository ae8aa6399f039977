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
/// because a process that could truncate it would make every other one fault. Restored RAM is a private mapping of the files that it was
/// saved to: clones share what they do not write. Regions never change once made.
public final class GuestMemory: QueueMemory, Sendable {
    /// The regions, in ascending order of guest address.
    public let regions: [MemoryRegion]
    /// What the RAM was restored from, the lowest layer first; empty for RAM that began as zeros. The files stay open.
    public let layers: [MemoryLayer]
    let file: OwnedDescriptor?

    /// All of RAM, if this process made it.
    let mapping: MemoryMapping?
    /// What RAM is made of, if another process did.
    private let foreign: [ForeignRegion]
    private let late: LateMemory?
    /// Total size of RAM in bytes.
    public let size: UInt64
    @usableFromInline let table: RegionTable
    @usableFromInline let log: WriteLog?

    /// Makes RAM for the given guest ranges: ascending, not overlapping, each a non-zero multiple of 4096 bytes. `isShared` makes it a memory
    /// file, for other processes to map. With `tracksWrites` it keeps note of what devices write, for `takeWritten`; those in other processes
    /// find the notes in another memory file.
    public convenience init(ranges: [Range<UInt64>], isShared: Bool = false, tracksWrites: Bool = false) throws(SystemError) {
        try self.init(ranges: ranges, file: isShared ? try Self.makeFile(ranges) : nil, layers: [], tracksWrites: tracksWrites)
    }

    private static func makeFile(_ ranges: [Range<UInt64>]) throws(SystemError) -> OwnedDescriptor {
        let file = try makeMemoryFile(name: "swvmm-ram", size: UInt64(try size(of: ranges)))
        try file.seal()
        return file
    }

    /// Makes RAM that holds what `layers` do, later ones over earlier ones, and zeros elsewhere. Nothing is read but pages that would take
    /// too many mappings (more than 1024); so it takes the same time for RAM of any size.
    ///
    /// `isPopulated` reads all that the files have, into memory that other processes share, so that the guest waits for no disk later. The
    /// files must not be truncated while this lives: see `MemoryMapping.place`. `isShared` makes RAM a memory file for other processes to map,
    /// which no private mapping can be: then all of it is copied, in a time that grows with what the layers have.
    /// - Throws: EINVAL for extents out of order or beyond RAM and for what is no regular file; EIO for a file that is shorter than its
    ///   extents say; what the kernel answers.
    public convenience init(
        ranges: [Range<UInt64>], layers: [MemoryLayer], isShared: Bool = false, tracksWrites: Bool = false, isPopulated: Bool = false
    ) throws(SystemError) {
        let pageCount = try Self.size(of: ranges) / MemoryExtent.pageSize
        for layer in layers { try layer.check(pageCount: pageCount) }
        guard !isShared else {
            try self.init(ranges: ranges, file: try Self.makeFile(ranges), layers: layers, tracksWrites: tracksWrites)
            try copy(LayerPlan(layers.map { $0.extents }, limit: .max))
            return
        }
        try self.init(ranges: ranges, file: nil, layers: layers, tracksWrites: tracksWrites)
        try place(LayerPlan(layers.map { $0.extents }, limit: Self.mostMappings))
        if isPopulated {
            for layer in layers { for extent in layer.extents { try mapping?.populate(at: Int(extent.offset), count: extent.byteCount) } }
        }
    }

    /// RAM that another process made: regions in any order, and what `late` finds beside them. What is written to regions is noted in its
    /// `log`, if it wants one.
    /// - Throws: EINVAL when they overlap; EFBIG when the log has no bits for some of them.
    public init(foreign parts: [ForeignRegion], log wanted: ForeignLog? = nil, late: LateMemory? = nil) throws(SystemError) {
        self.late = late
        foreign = parts.sorted { $0.guestAddress < $1.guestAddress }
        let regions = foreign.map(\.region)
        self.regions = regions
        for (one, next) in zip(regions, regions.dropFirst()) where one.end > next.guestAddress {
            throw SystemError("guest memory", .invalidArgument)
        }
        size = regions.reduce(0) { $0 &+ $1.size }
        file = nil
        (layers, mapping) = ([], nil)
        table = RegionTable(regions)
        guard let wanted else {
            log = nil
            return
        }
        guard wanted.bitmap.covers(regions.last?.end ?? 0) else { throw SystemError("write log", .fileTooLarge) }
        let aliases = wanted.aliases.compactMap { alias in
            // As far as it lies in one region, beyond which nothing is written.
            let region = regions.first { alias.guestAddress >= $0.guestAddress && alias.guestAddress < $0.end }
            return region.map { region in
                let start = Int(alias.guestAddress - region.guestAddress)
                let count = min(Int(clamping: alias.size), region.range.count - start)
                return (range: region.range.slice(from: start, count: count), guestAddress: alias.logAddress)
            }
        }
        log = WriteLog(of: regions, aliases: aliases, in: wanted.bitmap)
    }

    /// Mappings of files that restored RAM is made of, at most.
    static let mostMappings = 1024

    private init(
        ranges: [Range<UInt64>], file: consuming OwnedDescriptor?, layers: [MemoryLayer], tracksWrites: Bool
    ) throws(SystemError) {
        let size = try Self.size(of: ranges)
        let isShared =
            switch file {
            case .some(_): true
            case .none: false
            }
        // What a boot loader leaves lies below the first boundary of huge pages, here and there: 2 MiB to clear for a few KiB.
        let mapping = try MemoryMapping(guestMemory: size, file: file, hugePagesFrom: MemoryMapping.hugePage)
        self.mapping = mapping
        self.size = UInt64(size)
        (foreign, late) = ([], nil)
        self.file = consume file
        self.layers = layers
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
        let pageCount = Int((regions.last?.end ?? 0) / UInt64(MemoryExtent.pageSize))
        log = tracksWrites ? WriteLog(of: regions, in: try WriteBitmap(pageCount: pageCount, isShared: isShared)) : nil
    }

    /// The size of RAM with these ranges, in bytes, more than 0; EINVAL for ranges that no RAM can have.
    private static func size(of ranges: [Range<UInt64>]) throws(SystemError) -> Int {
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
        return size
    }

    /// The descriptor of the sealed memory file, to hand to another process; nil when RAM is private to this one. It lives as long as the RAM.
    public var rawFileDescriptor: Int32? {
        switch file {
        case .some(let file): file.rawValue
        case .none: nil
        }
    }

    /// The descriptor of the sealed memory file in which other processes note what they write, and its size; nil unless RAM is shared and
    /// `tracksWrites`. A bit for each page from guest physical address 0 on, the lowest bit of the first byte first.
    public var rawLog: (descriptor: Int32, size: UInt64)? { log?.bitmap.shared }

    /// The host memory behind `count` bytes at guest physical `address`; nil unless all of it lies in one region.
    @inlinable
    public func range(at address: UInt64, count: Int) -> HostRange? {
        table.range(at: address, count: count) ?? lateRange(at: address, count: count)
    }

    /// The same where no region is.
    @usableFromInline
    func lateRange(at address: UInt64, count: Int) -> HostRange? { late?.range(at: address, count: count) }

    /// Whether writes by devices are noted.
    @inlinable public var tracksWrites: Bool { log != nil }

    /// Notes a write by anybody but the guest; does nothing unless the RAM was made with `tracksWrites`. Who writes through a `HostRange`
    /// calls this afterwards; `store` and `write` do, and device queues for their chains and rings. What the guest writes KVM notes.
    @inlinable
    public func markWritten(_ range: HostRange) { log?.mark(range) }

    /// A little-endian integer at guest physical `address`; nil outside RAM.
    public func load<T: FixedWidthInteger>(at address: UInt64, as type: T.Type = T.self) -> T? {
        range(at: address, count: MemoryLayout<T>.size)?.load(at: 0)
    }

    /// Stores a little-endian integer; false (and nothing written) outside RAM.
    @discardableResult
    public func store<T: FixedWidthInteger>(_ value: T, at address: UInt64) -> Bool {
        guard let range = range(at: address, count: MemoryLayout<T>.size) else { return false }
        range.store(value, at: 0)
        markWritten(range)
        return true
    }

    /// Copies bytes into RAM; false (and nothing written) unless all of them fit into one region.
    @discardableResult
    public func write(_ bytes: RawSpan, at address: UInt64) -> Bool {
        guard let range = range(at: address, count: bytes.byteCount) else { return false }
        range.copy(from: bytes)
        markWritten(range)
        return true
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
