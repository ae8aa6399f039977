import GuestMemory
import Host
import Snapshot
import TestSupport
import Testing
import Virtqueue

typealias Random = SeededRandom

/// RAM in two regions, as a machine with memory above 4 GiB has it: the second begins in the middle of a bitmap word of KVM's log.
enum TestRAM {
    static let low = 100
    static let high = 156
    static let pageCount = low + high
    static let highAddress: UInt64 = 0x1_0000_0000
    static let ranges: [Range<UInt64>] = [0..<UInt64(low) * 4096, highAddress..<highAddress + UInt64(high) * 4096]

    static func make(tracksWrites: Bool = false) throws -> GuestMemory { try GuestMemory(ranges: ranges, tracksWrites: tracksWrites) }

    static func restore(_ layers: [MemoryLayer], tracksWrites: Bool = false) throws -> GuestMemory {
        try GuestMemory(ranges: ranges, layers: layers, tracksWrites: tracksWrites)
    }

    /// The guest physical address of a page.
    static func address(_ page: Int) -> UInt64 { page < low ? UInt64(page) * 4096 : highAddress + UInt64(page - low) * 4096 }
}

extension GuestMemory {
    func page(_ number: Int) throws -> HostRange { try #require(range(of: MemoryExtent(firstPage: number, pageCount: 1))) }

    /// Fills a page with one byte, as a device would that marks its writes.
    func fill(_ page: Int, _ byte: UInt8) throws {
        let range = try self.page(page)
        range.fill(byte)
        markWritten(range)
    }

    /// The first byte of a page, if all of its bytes are the same.
    func uniformByte(_ number: Int) throws -> UInt8? {
        let range = try page(number)
        guard range.slice(from: 0, count: 4095).hasSameBytes(as: range.slice(from: 1)) else { return nil }
        return range.load(at: 0)
    }

    /// The pages whose bytes are not those of `other`.
    func differences(from other: GuestMemory) throws -> [Int] {
        try (0..<pageCount).filter { try !page($0).hasSameBytes(as: other.page($0)) }
    }

    /// A copy in memory of its own.
    func copy() throws -> GuestMemory {
        let other = try GuestMemory(ranges: regions.map { $0.guestAddress..<$0.end })
        for region in regions { other.write(try #require(read(at: region.guestAddress, count: Int(region.size))), at: region.guestAddress) }
        return other
    }
}

/// An image in a file of its own.
struct Saved: ~Copyable {
    var image: MemoryImage
    var file: OwnedDescriptor

    init(_ write: (borrowing OwnedDescriptor) throws -> MemoryImage) throws {
        let file = try makeMemoryFile(name: "image", size: 0)
        image = try write(file)
        self.file = file
    }

    func layer() throws -> MemoryLayer { MemoryLayer(file: try file.duplicate(), extents: image.extents) }
}

func extents(_ pairs: [(Int, Int)]) -> [MemoryExtent] { pairs.map { MemoryExtent(firstPage: $0.0, pageCount: $0.1) } }
