import Host
import TestSupport
import Testing
import Virtqueue

@testable import VirtioDriver

@Suite("Addresses under which devices know memory")
struct IOVASpaceTests {
    private let page = SharedMemory.pageSize

    private func memory(_ pages: Int = 1) throws -> SharedMemory { try SharedMemory(byteCount: pages * page) }

    @Test("the lowest place that is large enough is taken, in whichever pool")
    func firstFit() throws {
        var space = IOVASpace(pools: [0x1000...0x2fff, 0x10_0000...0x1f_ffff])
        let (one, two, three, four) = (try memory(), try memory(2), try memory(), try memory())
        #expect(try space.insert(one) == 0x1000)
        #expect(try space.insert(two) == 0x10_0000)
        #expect(try space.insert(three) == 0x2000)
        #expect(try space.insert(four) == 0x10_2000)
        #expect(space.remove(two) == 0x10_0000)
        #expect(try space.insert(try memory(2)) == 0x10_0000)
    }

    @Test("address 0 is never given away")
    func zero() throws {
        var space = IOVASpace(pools: [0...0x3fff])
        #expect(try space.insert(try memory()) == 0x1000)
    }

    @Test("the last page of an address space can be used, and no more")
    func end() throws {
        var space = IOVASpace(pools: [(.max - 0x1fff)...(.max)])
        #expect(try space.insert(try memory()) == .max - 0x1fff)
        #expect(try space.insert(try memory()) == .max - 0xfff)
        #expect(throws: DriverError.noAddressSpace(page)) { try space.insert(try memory()) }
    }

    @Test("memory has one place at a time")
    func twice() throws {
        var space = IOVASpace(pools: [0x1000...0xffff])
        let memory = try memory()
        _ = try space.insert(memory)
        #expect(throws: DriverError.alreadyMapped) { try space.insert(memory) }
        #expect(space.remove(memory) == 0x1000)
        #expect(space.remove(memory) == nil)
    }

    @Test("whatever comes and goes, no two places overlap and all lie in the pools")
    func property() throws {
        var random = SeededRandom(seed: 5)
        let pools: [ClosedRange<UInt64>] = [0x1000...0xffff, 0x2_0000...0x2_7fff]
        var space = IOVASpace(pools: pools)
        var held: [SharedMemory] = []
        for _ in 0..<2000 {
            if random.oneIn(2), !held.isEmpty {
                #expect(space.remove(held.remove(at: random.below(held.count))) != nil)
            } else {
                let new = try memory(1 + random.below(4))
                do throws(DriverError) {
                    _ = try space.insert(new)
                    held.append(new)
                } catch {
                    #expect(error == .noAddressSpace(new.count))
                }
            }
            for (one, next) in zip(space.mappings, space.mappings.dropFirst()) { #expect(one.last < next.iova) }
            for mapping in space.mappings {
                #expect(pools.contains { $0.contains(mapping.iova) && $0.contains(mapping.last) })
            }
        }
    }

    @Test("a buffer is translated only when it lies in one region, and only as long as it is shown")
    func translation() throws {
        let book = AddressBook(IOVASpace(pools: [0x10_0000...0x1f_ffff]))
        var translator = IOVATranslator(book)
        let (one, two) = (try memory(2), try memory())
        #expect(translator.translate(one.range) == nil)
        let (first, second) = try book.change { (space) throws(DriverError) in (try space.insert(one), try space.insert(two)) }
        #expect(translator.translate(one.range) == first)
        #expect(translator.translate(try #require(two.slice(from: 7, count: 9))) == second + 7)
        #expect(translator.translate(try #require(one.slice(from: page, count: page))) == first + UInt64(page))
        // A range made by hand could reach further; one of the memory's own cannot.
        #expect(one.slice(from: page, count: page + 1) == nil)
        _ = try book.change { (space) throws(DriverError) in space.remove(one) }
        #expect(translator.translate(one.range) == nil)
        #expect(translator.translate(two.range) == second)
    }
}
