import Testing

@testable import Machine

@Suite("Address map") struct AddressMapTests {
    /// From the smallest to a terabyte, and around the hole for devices.
    static let sizes: [UInt64] = [
        2 << 20, 3 << 20, 128 << 20, 512 << 20, 3 << 30, (3 << 30) - 4096, (3 << 30) + 4096, 4 << 30, (4 << 30) + (2 << 20), 24 << 30,
        1 << 40,
    ]

    @Test("nothing overlaps, and everything is in order", arguments: sizes) func disjoint(size: UInt64) throws {
        let map = try AddressMap(memorySize: size, physicalAddressBits: 46)
        for (first, second) in zip(map.entries, map.entries.dropFirst()) {
            #expect(!first.range.isEmpty, "\(first.name)")
            #expect(first.range.upperBound <= second.range.lowerBound, "\(first.name) and \(second.name)")
        }
        #expect(map.memorySize == size)
        #expect(!map.pciWindow64.isEmpty)
    }

    @Test("RAM is one slot up to 3 GiB, and continues at 4 GiB") func slots() throws {
        #expect(try AddressMap(memorySize: 3 << 30).memory == [0..<3 << 30])
        #expect(try AddressMap(memorySize: 5 << 30).memory == [0..<3 << 30, 4 << 30..<6 << 30])
    }

    @Test("what boot protocols leave in low RAM, and the ports, do not overlap")
    func fixedTables() {
        for table in [AddressMap.bootEntries, AddressMap.portEntries] {
            for (first, second) in zip(table, table.dropFirst()) {
                #expect(first.range.upperBound <= second.range.lowerBound, "\(first.name) and \(second.name)")
            }
        }
        for entry in AddressMap.bootEntries where entry.kind == .usable {
            #expect(entry.range.upperBound <= AddressMap.firmware.lowerBound, "\(entry.name)")
        }
        #expect(AddressMap.firmware.contains(AddressMap.acpi.lowerBound) && AddressMap.acpi.upperBound <= AddressMap.resetVector.lowerBound)
        #expect(AddressMap.resetVector.upperBound == AddressMap.firmware.upperBound)
    }

    @Test("the memory map that the guest gets covers all RAM once and calls no device usable", arguments: sizes)
    func memoryMap(size: UInt64) throws {
        let map = try AddressMap(memorySize: size, physicalAddressBits: 46)
        let usable = map.memoryMap.filter { $0.kind == .usable }
        let total = usable.reduce(0) { $0 + $1.size }
        #expect(total == size - UInt64(AddressMap.firmware.count))
        for entry in usable {
            #expect(map.memory.contains { $0.lowerBound <= entry.range.lowerBound && entry.range.upperBound <= $0.upperBound })
        }
        #expect(map.memoryMap.contains(MemoryMapEntry(range: AddressMap.ecam, kind: .reserved)))
    }

    @Test("sizes that cannot be are refused") func refusals() {
        #expect(throws: AddressMapError.unaligned((2 << 20) + 1)) { try AddressMap(memorySize: (2 << 20) + 1) }
        #expect(throws: AddressMapError.size(0)) { try AddressMap(memorySize: 0) }
        #expect(throws: AddressMapError.size(1 << 20)) { try AddressMap(memorySize: 1 << 20) }
        #expect(throws: AddressMapError.size(1 << 62)) { try AddressMap(memorySize: 1 << 62) }
        #expect(throws: AddressMapError.addressBits(1 << 40, 40)) { try AddressMap(memorySize: 1 << 40, physicalAddressBits: 40) }
        #expect(
            "\(AddressMapError.addressBits(1 << 40, 40))"
                == "expected memory that 40-bit guest-physical addresses can reach, found 1099511627776 bytes")
    }

    @Test("every interrupt belongs to one") func interrupts() {
        let all = [GSI.com1, GSI.events] + Array(GSI.pci) + GSI.virtioMMIO
        #expect(Set(all).count == all.count)
        #expect(all.allSatisfy { $0 < GSI.pinCount })
        #expect(GSI.virtioMMIO.count >= 8)
    }

    @Test("virtio-mmio slots stand side by side inside their range") func slotsOfMMIO() {
        #expect(AddressMap.virtioMMIO(slot: 0) == 0xfe00_0000..<0xfe00_1000)
        #expect(AddressMap.virtioMMIO(slot: GSI.virtioMMIO.count - 1)?.upperBound == AddressMap.virtioMMIO.upperBound)
        #expect(AddressMap.virtioMMIO(slot: -1) == nil)
        #expect(AddressMap.virtioMMIO(slot: GSI.virtioMMIO.count) == nil)
    }
}
