import Host
import Testing
import Virtqueue

@testable import GuestMemory

@Suite("Restored RAM")
struct RestoredMemoryTests {
    /// A file with the given pages, each filled with a byte.
    private func layer(_ pages: [(page: Int, byte: UInt8)], size: Int) throws -> MemoryLayer {
        let file = try makeMemoryFile(name: "layer", size: UInt64(size) * 4096)
        let memory = try MemoryMapping(anonymous: 4096)
        var set = PageSet(pageCount: size)
        for (page, byte) in pages {
            memory.range.fill(byte)
            try file.writeAll(memory.range, at: UInt64(page) * 4096)
            set.insert(MemoryExtent(firstPage: page, pageCount: 1))
        }
        return MemoryLayer(file: file, extents: set.runs)
    }

    @Test(
        "Every byte comes from the topmost layer that has its page, and is zero where none does",
        arguments: [(false, false), (true, false), (false, true)])
    func layers(isPopulated: Bool, isShared: Bool) throws {
        let lower = try layer([(1, 11), (2, 12), (3, 13), (600, 14)], size: 1024)
        let upper = try layer([(2, 0), (4, 24), (600, 25), (1023, 26)], size: 1024)
        let memory = try GuestMemory(
            ranges: [0..<1024 * 4096], layers: [lower, upper], isShared: isShared, isPopulated: isPopulated)
        var expected = [UInt8](repeating: 0, count: 1024)
        for (page, byte) in [(1, 11), (3, 13), (4, 24), (600, 25), (1023, 26)] { expected[page] = UInt8(byte) }
        for page in 0..<1024 {
            #expect(memory.load(at: UInt64(page) * 4096 + 77, as: UInt8.self) == expected[page], "page \(page)")
        }
        #expect(memory.layerPages.runs == extents([(1, 4), (600, 1), (1023, 1)]))
        #expect((memory.rawFileDescriptor != nil) == isShared)
    }

    @Test("More scattered pages than a process should have mappings are restored all the same")
    func manyPieces() throws {
        let pageCount = 3 * 20 * 1500
        // Pieces of two files by turns, further apart than small gaps are.
        let lower = try layer((0..<1500).map { ($0 * 60, 1) } + (0..<1500).map { ($0 * 60 + 30, 3) }, size: pageCount)
        let upper = try layer((0..<1500).map { ($0 * 60 + 20, 2) } + [(30, 4)], size: pageCount)
        let before = try mappingCount()
        let memory = try GuestMemory(ranges: [0..<UInt64(pageCount) * 4096], layers: [lower, upper])
        // Other tests run meanwhile; pieces would be 4500.
        #expect(try mappingCount() - before < 3000)
        for index in 0..<1500 {
            let base = UInt64(index) * 60 * 4096
            #expect(memory.load(at: base + 5, as: UInt8.self) == 1)
            #expect(memory.load(at: base + 20 * 4096, as: UInt8.self) == 2)
            #expect(memory.load(at: base + 30 * 4096, as: UInt8.self) == (index == 0 ? 4 : 3))
            #expect(memory.load(at: base + 40 * 4096, as: UInt8.self) == 0)
        }
    }

    private func mappingCount() throws -> Int { try readWholeFile("/proc/self/maps", limit: 64 << 20).count { $0 == 10 } }

    @Test("A file that is shorter than its extents, no regular file, or has bad extents is refused before anything is mapped")
    func refusals() throws {
        let ranges: [Range<UInt64>] = [0..<16 * 4096]
        func error(_ layer: MemoryLayer) -> SystemError? {
            do throws(SystemError) {
                _ = try GuestMemory(ranges: ranges, layers: [layer])
                return nil
            } catch {
                return error
            }
        }
        let short = MemoryLayer(file: try makeMemoryFile(name: "short", size: 8 * 4096 - 1), extents: extents([(7, 1)]))
        #expect(error(short) == SystemError("memory image: shorter than its extents", .inputOutput))
        let enough = MemoryLayer(file: try makeMemoryFile(name: "enough", size: 8 * 4096), extents: extents([(7, 1)]))
        #expect(error(enough) == nil)
        #expect(throws: SystemError("memory image: shorter than its extents", .inputOutput)) {
            _ = try GuestMemory(ranges: ranges, layers: [short], isShared: true)
        }
        let device = MemoryLayer(file: try .open("/dev/zero", flags: 0), extents: [])
        #expect(error(device)?.errno == .invalidArgument)
        for bad in [[(15, 2)], [(3, 1), (2, 1)], [(3, 2), (4, 1)], [(3, 0)], [(16, 1)], [(0, .max)]] as [[(Int, Int)]] {
            let layer = MemoryLayer(file: try makeMemoryFile(name: "bad", size: 1 << 30), extents: extents(bad))
            #expect(error(layer)?.errno == .invalidArgument, "\(bad)")
        }
    }

    @Test("Populated pages are those that this process wrote and those of the layers; of a memory file, those with storage")
    func populated() throws {
        let tables = try OwnedDescriptor.pageTables()
        let restored = try GuestMemory(ranges: [0..<1024 * 4096], layers: [try layer([(5, 1), (6, 1)], size: 7)])
        // Below the first boundary of huge pages, so single pages are touched.
        restored.store(UInt8(1), at: 100 * 4096)
        restored.store(UInt8(1), at: 6 * 4096)
        #expect(try restored.ownPages(tables).runs == extents([(6, 1), (100, 1)]))
        #expect(try restored.populatedPages(tables).runs == extents([(5, 2), (100, 1)]))

        let shared = try GuestMemory(ranges: [0..<64 * 4096, 0x1_0000_0000..<0x1_0000_4000], isShared: true)
        let raw = try #require(shared.rawFileDescriptor)
        let other = try MemoryMapping(try .duplicating(inherited: raw), count: 68 * 4096)
        other.range.store(UInt8(1), at: 65 * 4096)
        #expect(try shared.populatedPages(tables).runs == extents([(65, 1)]), "another process wrote it")
        #expect(shared.range(of: MemoryExtent(firstPage: 67, pageCount: 1)) != nil)
        #expect(shared.range(of: MemoryExtent(firstPage: 67, pageCount: 2)) == nil)
    }
}
