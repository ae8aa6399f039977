/// The memory map in the form that boot protocols pass on: BIOS E820 (ACPI 6.5, 15.1).
public struct MemoryMapEntry: Sendable, Equatable {
    /// What a range is, with E820's numbers.
    public enum Kind: UInt32, Sendable {
        /// RAM.
        case usable = 1
        /// Anything else.
        case reserved = 2
    }
    /// Guest-physical addresses.
    public let range: Range<UInt64>
    /// What is there.
    public let kind: Kind

    var size: UInt64 { range.upperBound - range.lowerBound }
}

extension AddressMap {
    /// What the guest's operating system is told about memory, ascending.
    public var memoryMap: [MemoryMapEntry] {
        entries.compactMap { entry in
            switch entry.kind {
            case .usable: MemoryMapEntry(range: entry.range, kind: .usable)
            case .reserved: MemoryMapEntry(range: entry.range, kind: .reserved)
            case .device: nil
            }
        }
    }
}
