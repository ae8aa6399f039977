import GuestMemory
import VhostUser

/// Where the rings of a script lie in its RAM, and what a driver writes there.
struct Rings {
    /// Where the front-end claims to have RAM mapped; the samples of random conversations have the same.
    static let userBase: UInt64 = 0x7f12_3400_0000
    /// All that a 16-bit address can name.
    static let ramSize: UInt64 = 1 << 16
    /// Entries, which all devices can have, and few enough to come round.
    static let size: UInt16 = 8

    let memory: GuestMemory
    /// The driver's index, by queue.
    private var available: [UInt16]

    init(_ memory: GuestMemory, count: Int) {
        self.memory = memory
        available = Array(repeating: 0, count: count)
    }

    private static func area(_ queue: Int, _ offset: UInt64) -> UInt64 { 0x1000 + UInt64(queue) * 0x1000 + offset }

    /// All of RAM.
    static let region = MemoryRegionDescription(guestAddress: 0, size: ramSize, userAddress: userBase, fileOffset: 0)

    /// Where a queue lies.
    static func addresses(_ queue: Int) -> RingAddresses {
        RingAddresses(
            index: UInt32(queue), descriptorArea: userBase + area(queue, 0), deviceArea: userBase + area(queue, 0x800),
            driverArea: userBase + area(queue, 0x400))
    }

    /// Writes a descriptor; in a packed ring `link` has the flags of availability as well.
    func describe(_ queue: Int, slot: UInt8, address: UInt64, count: UInt32, flags: UInt16, link: UInt16, packed: Bool) {
        let place = Self.area(queue, UInt64(slot) * 16)
        _ = memory.store(address, at: place)
        _ = memory.store(count, at: place + 8)
        _ = memory.store(packed ? link : flags, at: place + 12)
        _ = memory.store(packed ? flags : link, at: place + 14)
    }

    /// Makes a chain of a split ring available.
    mutating func publish(_ queue: Int, head: UInt16) {
        let driver = Self.area(queue, 0x400)
        _ = memory.store(head, at: driver + 4 + UInt64(available[queue] % Self.size) * 2)
        available[queue] &+= 1
        _ = memory.store(available[queue], at: driver + 2)
    }
}
