import Testing
import Virtqueue

/// Every rule of the split ring that a driver can break, one by one (virtio 1.3, 2.7).
@Suite struct HostileSplitTests {
    @Test func wellFormedChain() throws {
        var ring = try RawRing(.split)
        ring.split(5, ring.data, 16, RawRing.next, next: 2)
        ring.split(2, ring.data + 16, 100, RawRing.next | RawRing.write, next: 7)
        ring.split(7, ring.data + 200, 1, RawRing.write)
        ring.offer([5])
        #expect(ring.pop() == .chain(16, 101))
        #expect(ring.chain.head == 5)
        ring.device.complete(ring.chain, written: 33)
        #expect(ring.memory.load(UInt16.self, at: ring.layout.configuration.deviceArea + 2) == 0, "not before publish")
        let notify = ring.device.publish()
        #expect(notify)
        // 2.7.8: idx, then id and len of the first element.
        #expect(ring.memory.load(UInt16.self, at: ring.layout.configuration.deviceArea + 2) == 1)
        #expect(ring.memory.load(UInt32.self, at: ring.layout.configuration.deviceArea + 4) == 5)
        #expect(ring.memory.load(UInt32.self, at: ring.layout.configuration.deviceArea + 8) == 33)
        #expect(ring.pop() == .nothing)
    }

    /// 2.7.13: no more entries than the queue has can be available.
    @Test(arguments: [9, 10, 255, 32768, 65535] as [UInt16])
    func availableIndexJumps(_ index: UInt16) throws {
        var ring = try RawRing(.split)
        ring.setAvailableIndex(index)
        #expect(ring.pop() == .fault(.availableIndex(index, next: 0, size: 8)))
        #expect(throws: QueueFault.availableIndex(index, next: 0, size: 8)) { try Self.hasAvailable(ring) }
    }

    /// 2.7.6.1: the index must not go back either, which is a jump ahead of almost 65536.
    @Test func availableIndexGoesBack() throws {
        var ring = try RawRing(.split)
        for index in 0..<4 { ring.split(index, ring.data, 1, 0) }
        ring.offer([0, 1, 2, 3])
        for _ in 0..<4 { #expect(ring.pop() == .chain(1, 0)) }
        ring.setAvailableIndex(3)
        #expect(ring.pop() == .fault(.availableIndex(3, next: 4, size: 8)))
    }

    /// The driver may not use an entry again before it got it back, so what the device still holds counts as well.
    @Test func moreAvailableThanTheQueueHolds() throws {
        var ring = try RawRing(.split)
        for index in 0..<8 { ring.split(index, ring.data, 1, 0) }
        ring.offer([0, 1, 2, 3, 4, 5, 6, 7])
        var held = ChainBuffer(capacity: 1)
        for _ in 0..<7 { #expect(ring.pop() == .chain(1, 0)) }
        let popped = try ring.device.pop(into: &held)
        #expect(popped)
        ring.setAvailableIndex(9)
        #expect(ring.pop() == .fault(.availableIndex(9, next: 8, size: 8)))
        // Completed is not enough: the driver cannot know it before it is published.
        ring.device.complete(held, written: 0)
        #expect(ring.pop() == .fault(.availableIndex(9, next: 8, size: 8)))
        _ = ring.device.publish()
        #expect(ring.pop() == .chain(1, 0))
    }

    @Test(arguments: [8, 9, 0x7fff, 0xffff] as [UInt16])
    func headOutOfRange(_ head: UInt16) throws {
        var ring = try RawRing(.split)
        ring.offer([head])
        #expect(ring.pop() == .fault(.headOutOfRange(head, size: 8)))
    }

    @Test(arguments: [8, 9, 0xffff] as [UInt16])
    func nextOutOfRange(_ next: UInt16) throws {
        var ring = try RawRing(.split)
        ring.split(0, ring.data, 1, RawRing.next, next: next)
        ring.offer([0])
        #expect(ring.pop() == .fault(.nextOutOfRange(next, size: 8)))
    }

    /// 2.7.5.2: "this implies that loops in the descriptor chain are forbidden".
    @Test(arguments: [1, 2, 5, 8])
    func loop(_ length: Int) throws {
        for bytes: UInt32 in [0, 1] {
            var ring = try RawRing(.split)
            for index in 0..<length { ring.split(index, ring.data, bytes, RawRing.next, next: UInt16((index + 1) % length)) }
            ring.offer([0])
            #expect(ring.pop() == .fault(.chainTooLong(limit: 8)))
        }
    }

    @Test func longestChain() throws {
        var ring = try RawRing(.split)
        for index in 0..<8 { ring.split(index, ring.data, 1, index < 7 ? RawRing.next : 0, next: UInt16(index + 1)) }
        ring.offer([0])
        #expect(ring.pop() == .chain(8, 0))
    }

    @Test func moreSegmentsThanTheDeviceAccepts() throws {
        var ring = try RawRing(.split, capacity: 3)
        for index in 0..<4 { ring.split(index, ring.data, 1, index < 3 ? RawRing.next : 0, next: UInt16(index + 1)) }
        ring.offer([0])
        #expect(ring.pop() == .fault(.tooManySegments(limit: 3)))
        // A buffer without bytes takes no segment.
        ring.split(2, ring.data, 0, RawRing.next, next: 3)
        #expect(ring.pop() == .chain(3, 0))
    }

    /// 2.7.4.2: readable before writable.
    @Test func readableAfterWritable() throws {
        for bytes: UInt32 in [0, 1] {
            var ring = try RawRing(.split)
            ring.split(3, ring.data, bytes, RawRing.write | RawRing.next, next: 1)
            ring.split(1, ring.data, bytes, 0)
            ring.offer([3])
            #expect(ring.pop() == .fault(.readableAfterWritable(3)))
        }
    }

    @Test func wildAddresses() throws {
        let end = try RawRing(.split).memory.end
        let wild: [(UInt64, UInt32)] = [
            (0, 1), (TestMemory.address - 1, 1), (TestMemory.address - 1, 2), (end, 1), (end - 1, 2), (end - 4, UInt32.max),
            (UInt64.max, 1), (UInt64.max, UInt32.max), (UInt64.max - 3, 8), (1 << 63, 16), (TestMemory.address, UInt32.max),
        ]
        for (address, count) in wild {
            for flags in [0, RawRing.write] {
                var ring = try RawRing(.split)
                ring.split(0, address, count, flags)
                ring.offer([0])
                #expect(ring.pop() == .fault(.bufferOutsideMemory(address: address, count: count)))
            }
        }
        // The last byte of memory is memory, and a buffer without bytes is nowhere.
        for (address, count, result) in [(end - 1, 1, 1), (end, 0, 0), (UInt64.max, 0, 0)] as [(UInt64, UInt32, Int)] {
            var ring = try RawRing(.split)
            ring.split(0, address, count, 0)
            ring.offer([0])
            #expect(ring.pop() == .chain(result, 0))
        }
    }

    /// 2.7.5.2: a length of used bytes must fit its 32-bit field, whatever the memory could hold.
    @Test func tooManyBytes() throws {
        for (first, second, flags) in [(0x8000_0000, 0x8000_0000, 0), (UInt32.max, 1, RawRing.write)] as [(UInt32, UInt32, UInt16)] {
            for format in [RingFormat.split, .packed] {
                var ring = try RawRing(format)
                if format == .split {
                    ring.split(0, TestMemory.pretended, first, RawRing.next, next: 1)
                    ring.split(1, TestMemory.pretended, second, flags)
                    ring.offer([0])
                } else {
                    ring.packed(0, TestMemory.pretended, first, RawRing.next)
                    ring.packed(1, TestMemory.pretended, second, flags)
                }
                #expect(ring.pop() == .fault(.tooManyBytes(1 << 32)))
                // One byte less is allowed.
                let length = ring.layout.configuration.descriptorArea + 16 + 8
                ring.memory.store(second - 1, at: length)
                #expect(ring.pop() == .chain(Int(first) + (flags == 0 ? Int(second) - 1 : 0), flags == 0 ? 0 : Int(second) - 1))
            }
        }
    }

    // MARK: Indirect tables (2.7.5.3)

    @Test func indirectTable() throws {
        var ring = try RawRing(.split)
        // 2.7.5.3.2: WRITE in the reference is ignored, and plain descriptors may come first. Entries are linked in any order.
        ring.split(1, ring.data, 4, RawRing.next, next: 2)
        ring.split(2, ring.table, 48, RawRing.indirect | RawRing.write)
        ring.split(0, ring.data + 4, 5, RawRing.next, next: 2, table: ring.table)
        ring.split(1, ring.data + 20, 7, RawRing.write, table: ring.table)
        ring.split(2, ring.data + 10, 6, RawRing.next | RawRing.write, next: 1, table: ring.table)
        ring.offer([1])
        #expect(ring.pop() == .chain(9, 13))
        #expect(ring.chain.readable.count == 2 && ring.chain.writable.count == 2)
        #expect(ring.memory.offset(of: ring.chain.writable[0]) == Int(ring.data + 10 - TestMemory.address))
    }

    @Test func indirectNotNegotiated() throws {
        var ring = try RawRing(.split, indirect: false)
        ring.split(0, ring.table, 16, RawRing.indirect)
        ring.split(0, ring.data, 1, 0, table: ring.table)
        ring.offer([0])
        #expect(ring.pop() == .fault(.indirectNotNegotiated))
    }

    @Test func indirectWithNext() throws {
        var ring = try RawRing(.split)
        ring.split(0, ring.table, 16, RawRing.indirect | RawRing.next, next: 1)
        ring.split(0, ring.data, 1, 0, table: ring.table)
        ring.split(1, ring.data, 1, 0)
        ring.offer([0])
        #expect(ring.pop() == .fault(.indirectInChain))
    }

    @Test func nestedTable() throws {
        var ring = try RawRing(.split)
        ring.split(0, ring.table, 32, RawRing.indirect)
        ring.split(0, ring.data, 1, RawRing.next, next: 1, table: ring.table)
        ring.split(1, ring.table, 32, RawRing.indirect, table: ring.table)
        ring.offer([0])
        #expect(ring.pop() == .fault(.indirectNested))
    }

    @Test(arguments: [0, 1, 15, 17, 24, 8 * 16 + 1, 9 * 16, 0xffff_fff0, 0xffff_ffff] as [UInt32])
    func tableLength(_ length: UInt32) throws {
        var ring = try RawRing(.split)
        ring.split(0, ring.table, length, RawRing.indirect)
        ring.offer([0])
        #expect(ring.pop() == .fault(.indirectTableLength(length, size: 8)))
    }

    @Test func tableOutsideMemory() throws {
        for address in [0, TestMemory.address - 16, UInt64.max - 15, try RawRing(.split).memory.end - 31] as [UInt64] {
            var ring = try RawRing(.split)
            ring.split(0, address, 32, RawRing.indirect)
            ring.offer([0])
            #expect(ring.pop() == .fault(.indirectTableOutsideMemory(address: address, count: 32)))
        }
    }

    @Test func linksWithinTheTable() throws {
        var ring = try RawRing(.split)
        ring.split(0, ring.table, 32, RawRing.indirect)
        ring.split(0, ring.data, 1, RawRing.next, next: 2, table: ring.table)
        ring.offer([0])
        #expect(ring.pop() == .fault(.nextOutOfRange(2, size: 2)))
        ring.split(0, ring.data, 1, RawRing.next, next: 0, table: ring.table)
        #expect(ring.pop() == .fault(.chainTooLong(limit: 2)))
        ring.split(0, ring.data, 1, RawRing.next | RawRing.write, next: 1, table: ring.table)
        ring.split(1, ring.data, 1, 0, table: ring.table)
        #expect(ring.pop() == .fault(.readableAfterWritable(0)))
        ring.split(1, 0, 1, RawRing.write, table: ring.table)
        #expect(ring.pop() == .fault(.bufferOutsideMemory(address: 0, count: 1)))
    }

    /// 2.7.5.3.1: the whole chain must not be longer than the queue size, so a table of that size leaves no room for descriptors before it.
    @Test func tableAndDescriptorsTogether() throws {
        var ring = try RawRing(.split)
        for index in 0..<8 {
            ring.split(index, ring.data, 1, index < 7 ? RawRing.next : 0, next: UInt16(index + 1), table: ring.table)
        }
        ring.split(0, ring.table, 8 * 16, RawRing.indirect)
        ring.split(1, ring.data, 1, RawRing.next, next: 0)
        ring.offer([0, 1])
        #expect(ring.pop() == .chain(8, 0))
        #expect(ring.pop() == .fault(.chainTooLong(limit: 8)))
    }

    private static func hasAvailable(_ ring: borrowing RawRing) throws -> Bool { try ring.device.hasAvailable() }
}
