import GuestMemory
import Host
import Testing
import Virtqueue

struct GuestMemoryTests {
    private func memory() throws -> GuestMemory { try GuestMemory(ranges: [0..<0x10000, 0x1_0000_0000..<0x1_0000_8000]) }

    @Test("addresses translate inside a region and nowhere else, whatever their sum")
    func translation() throws {
        let memory = try memory()
        #expect(memory.size == 0x18000)
        for (address, count, valid) in [
            (0, 0x10000, true), (0, 0x10001, false), (0xffff, 1, true), (0xffff, 2, false), (0x10000, 0, false), (0x10000, 1, false),
            (0x1_0000_0000, 0x8000, true), (0x1_0000_7fff, 1, true), (0x1_0000_8000, 1, false), (0xffff_ffff, 2, false),
            (UInt64.max, 1, false), (UInt64.max, .max, false), (1, .max, false), (0, -1, false),
        ] as [(UInt64, Int, Bool)] {
            #expect((memory.range(at: address, count: count) != nil) == valid, "\(address) \(count)")
        }
    }

    @Test("integers and bytes go in and come out little-endian; nothing is written beyond a region")
    func access() throws {
        let memory = try memory()
        #expect(memory.store(UInt32(0x0403_0201), at: 0xfffc))
        #expect(memory.read(at: 0xfffc, count: 4) == [1, 2, 3, 4])
        #expect(!memory.store(UInt32(0xffff_ffff), at: 0xfffd))
        #expect(memory.read(at: 0xfffc, count: 4) == [1, 2, 3, 4])
        #expect(memory.write([9, 8, 7], at: 0x1_0000_0000))
        #expect(memory.load(at: 0x1_0000_0000, as: UInt16.self) == 0x0809)
        #expect(memory.load(at: 0x1_0000_8000, as: UInt8.self) == nil)
        #expect(memory.read(at: 0x8000, count: 0x8001) == nil)
    }

    @Test("shared memory is a file that other processes see the same bytes in; private memory has none")
    func sharing() throws {
        let ranges: [Range<UInt64>] = [0..<0x10000, 0x1_0000_0000..<0x1_0000_8000]
        let shared = try GuestMemory(ranges: ranges, isShared: true)
        #expect(shared.write([1, 2, 3], at: 0x1_0000_0010))
        let raw = try #require(shared.rawFileDescriptor)
        let other = try MemoryMapping(try OwnedDescriptor.duplicating(inherited: raw), count: 0x18000)
        #expect(other.range.load(at: 0x10010, as: UInt16.self) == 0x0201)
        #expect(throws: SystemError.self, "it is sealed") { try OwnedDescriptor.duplicating(inherited: raw).seal() }
        #expect(try memory().rawFileDescriptor == nil)
    }

    @Test("RAM begins where huge pages do, so that they are huge pages to the guest as well")
    func alignment() throws {
        for size: UInt64 in [4096, 2 << 20, 5 << 20] {
            let mapping = try MemoryMapping(guestMemory: Int(size), hugePagesFrom: MemoryMapping.hugePage)
            #expect(mapping.range.count == Int(size))
            #expect(unsafe UInt(bitPattern: mapping.range.base) % UInt(MemoryMapping.hugePage) == 0)
            #expect(mapping.range.store(UInt8(7), at: Int(size) - 1))
        }
        #expect(throws: SystemError.self) { _ = try MemoryMapping(guestMemory: .max - 4095) }
        #expect(throws: SystemError.self) { _ = try MemoryMapping(guestMemory: 100) }
    }

    @Test("ranges that overlap, are empty or are not pages make no memory")
    func badRanges() {
        for ranges: [Range<UInt64>] in [[], [0..<0], [0..<100], [4096..<8192, 0..<4096], [0..<8192, 4096..<12288]] {
            #expect(throws: (any Error).self) { _ = try GuestMemory(ranges: ranges) }
        }
    }
}
