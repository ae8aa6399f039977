import Testing
import Virtqueue

/// Every rule of the packed ring that a driver can break, one by one (virtio 1.3, 2.8).
@Suite struct HostilePackedTests {
    @Test func wellFormedChain() throws {
        var ring = try RawRing(.packed, size: 5)
        ring.packed(0, ring.data, 16, RawRing.next, id: 77)
        ring.packed(1, ring.data + 16, 100, RawRing.next | RawRing.write, id: 78)
        ring.packed(2, ring.data + 200, 1, RawRing.write, id: 0xfffe)
        ring.packed(3, ring.data, 3, 0, id: 4)
        #expect(ring.pop() == .chain(16, 101))
        // 2.8.7: the id is the one of the last descriptor in the list.
        #expect(ring.chain.head == 0xfffe)
        var second = ChainBuffer(capacity: 4)
        let popped = try ring.device.pop(into: &second)
        #expect(popped && second.head == 4)
        let position = ring.device.position
        #expect(position.available == 4 && position.availableWrap)
        // Out of order: the later chain is used first and takes the first used slot; its length says how far the next one is (2.8.7).
        let area = ring.layout.configuration.descriptorArea
        ring.device.complete(second, written: 0)
        ring.device.complete(ring.chain, written: 101)
        #expect(ring.memory.load(UInt16.self, at: area + 14) == RawRing.avail | RawRing.next, "not before publish")
        let notify = ring.device.publish()
        #expect(notify)
        #expect(ring.memory.load(UInt16.self, at: area + 12) == 4)
        #expect(ring.memory.load(UInt16.self, at: area + 14) == RawRing.avail | RawRing.used, "nothing written: no WRITE flag (2.8.4)")
        #expect(ring.memory.load(UInt32.self, at: area + 16 + 8) == 101)
        #expect(ring.memory.load(UInt16.self, at: area + 16 + 12) == 0xfffe)
        #expect(ring.memory.load(UInt16.self, at: area + 16 + 14) == RawRing.avail | RawRing.used | RawRing.write)
        #expect(ring.device.position.used == 4)
        #expect(ring.pop() == .nothing)
    }

    /// 2.8.1: only AVAIL equal to and USED different from the wrap counter is available.
    @Test func ownershipBits() throws {
        for flags in [0, RawRing.used, RawRing.avail | RawRing.used] {
            let ring = try RawRing(.packed)
            ring.memory.store(flags, at: ring.layout.configuration.descriptorArea + 14)
            let available = try ring.device.hasAvailable()
            #expect(!available)
        }
        var ring = try RawRing(.packed)
        ring.packed(0, ring.data, 1, 0)
        #expect(ring.pop() == .chain(1, 0))
    }

    /// 2.8.13.1: a list must not continue at a descriptor that is not available.
    @Test func listContinuesIntoNothing() throws {
        var ring = try RawRing(.packed)
        ring.packed(0, ring.data, 1, RawRing.next)
        #expect(ring.pop() == .fault(.descriptorNotAvailable(1)))
    }

    /// 2.8.6.1: a list must not be longer than the ring, around whose end it would meet itself with the flags of the wrong round.
    @Test(arguments: [1, 2, 3, 7, 8] as [UInt16])
    func loop(_ size: UInt16) throws {
        for bytes: UInt32 in [0, 1] {
            var ring = try RawRing(.packed, size: size)
            for index in 0..<Int(size) { ring.packed(index, ring.data, bytes, RawRing.next) }
            #expect(ring.pop() == .fault(.ringOverrun(size: size)))
        }
    }

    /// A list across the end of the ring: the part behind it belongs to the next round (2.8.1), in a ring whose size is no power of two.
    @Test func listAcrossTheEnd() throws {
        var ring = try RawRing(.packed, size: 5)
        for index in 0..<4 { ring.packed(index, ring.data, 1, index < 3 ? RawRing.next : 0) }
        #expect(ring.pop() == .chain(4, 0))
        ring.device.complete(ring.chain, written: 0)
        _ = ring.device.publish()
        let area = ring.layout.configuration.descriptorArea
        ring.packed(4, ring.data, 2, RawRing.next)
        ring.packed(0, ring.data, 2, RawRing.next)
        #expect(ring.pop() == .fault(.descriptorNotAvailable(0)), "flags of the old round")
        for index: UInt64 in 0..<2 {
            ring.memory.store(index == 0 ? RawRing.used | RawRing.next : RawRing.used, at: area + 16 * index + 14)
            ring.memory.store(ring.data, at: area + 16 * index)
            ring.memory.store(3 as UInt32, at: area + 16 * index + 8)
        }
        #expect(ring.pop() == .chain(8, 0))
        #expect(ring.device.position.available == 2)
        #expect(!ring.device.position.availableWrap)
    }

    /// The driver may not touch what it did not get back: the ring cannot be available a second time.
    @Test func moreAvailableThanTheRingHolds() throws {
        var ring = try RawRing(.packed, size: 3)
        let area = ring.layout.configuration.descriptorArea
        for index in 0..<3 { ring.packed(index, ring.data, 1, 0, id: UInt16(index)) }
        var held = ChainBuffer(capacity: 1)
        for _ in 0..<2 { #expect(ring.pop() == .chain(1, 0)) }
        let popped = try ring.device.pop(into: &held)
        #expect(popped)
        ring.memory.store(RawRing.used, at: area + 14)
        #expect(ring.pop() == .fault(.ringOverrun(size: 3)))
        // Completed is not enough: the driver cannot know it before it is published.
        ring.device.complete(held, written: 0)
        #expect(ring.pop() == .fault(.ringOverrun(size: 3)))
        _ = ring.device.publish()
        #expect(ring.pop() == .nothing, "what was published has overwritten the descriptor")
        ring.memory.store(RawRing.used | RawRing.next, at: area + 14)
        ring.memory.store(RawRing.used, at: area + 16 + 14)
        #expect(ring.pop() == .fault(.ringOverrun(size: 3)), "a list may not run into what the device holds")
    }

    @Test func readableAfterWritable() throws {
        var ring = try RawRing(.packed)
        ring.packed(0, ring.data, 1, RawRing.write | RawRing.next, id: 6)
        ring.packed(1, ring.data, 1, 0, id: 9)
        #expect(ring.pop() == .fault(.readableAfterWritable(9)))
    }

    @Test func wildAddresses() throws {
        for (address, count) in [(0, 1), (UInt64.max, UInt32.max), (TestMemory.address - 1, 2)] as [(UInt64, UInt32)] {
            var ring = try RawRing(.packed)
            ring.packed(0, address, count, RawRing.write)
            #expect(ring.pop() == .fault(.bufferOutsideMemory(address: address, count: count)))
        }
    }

    // MARK: Indirect tables (2.8.8)

    @Test func indirectTable() throws {
        var ring = try RawRing(.packed)
        ring.packed(0, ring.table, 48, RawRing.indirect | RawRing.write, id: 3)
        // Entries stand in order; every flag but WRITE, and the ids, are ignored.
        ring.packed(0, ring.data, 4, RawRing.next | RawRing.used, id: 55, table: ring.table)
        ring.packed(1, ring.data + 4, 5, RawRing.avail, id: 56, table: ring.table)
        ring.packed(2, ring.data + 10, 6, RawRing.write | RawRing.next, id: 57, table: ring.table)
        #expect(ring.pop() == .chain(9, 6))
        #expect(ring.chain.head == 3)
        #expect(ring.device.position.available == 1, "a table takes one slot")
    }

    @Test func indirectNotNegotiated() throws {
        var ring = try RawRing(.packed, indirect: false)
        ring.packed(0, ring.table, 16, RawRing.indirect)
        #expect(ring.pop() == .fault(.indirectNotNegotiated))
    }

    /// 2.8.8.1: no indirect descriptor in a list that is linked by NEXT, neither first nor later.
    @Test func indirectInList() throws {
        var ring = try RawRing(.packed)
        ring.packed(0, ring.table, 16, RawRing.indirect | RawRing.next)
        ring.packed(1, ring.data, 1, 0)
        #expect(ring.pop() == .fault(.indirectInChain))
        ring.packed(0, ring.data, 1, RawRing.next)
        ring.packed(1, ring.table, 16, RawRing.indirect)
        #expect(ring.pop() == .fault(.indirectInChain))
    }

    @Test(arguments: [0, 1, 15, 24, 9 * 16, 0xffff_fff0, 0xffff_ffff] as [UInt32])
    func tableLength(_ length: UInt32) throws {
        var ring = try RawRing(.packed)
        ring.packed(0, ring.table, length, RawRing.indirect)
        #expect(ring.pop() == .fault(.indirectTableLength(length, size: 8)))
    }

    @Test func tableOutsideMemory() throws {
        var ring = try RawRing(.packed)
        ring.packed(0, UInt64.max - 15, 32, RawRing.indirect)
        #expect(ring.pop() == .fault(.indirectTableOutsideMemory(address: UInt64.max - 15, count: 32)))
    }

    /// 2.8.14: the reserved value of the event flags, and DESC without VIRTIO_F_EVENT_IDX, must not cost the driver its notification.
    @Test(arguments: [0, 1, 2, 3] as [UInt16])
    func eventFlags(_ flags: UInt16) throws {
        var ring = try RawRing(.packed)
        ring.packed(0, ring.data, 1, 0)
        #expect(ring.pop() == .chain(1, 0))
        ring.memory.store(0xffff as UInt16, at: ring.layout.configuration.driverArea)
        ring.memory.store(flags, at: ring.layout.configuration.driverArea + 2)
        ring.device.complete(ring.chain, written: 0)
        let notify = ring.device.publish()
        #expect(notify == (flags != 1))
    }
}
