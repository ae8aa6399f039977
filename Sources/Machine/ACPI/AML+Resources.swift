// Resource descriptors (ACPI 6.5, 6.4), the contents of _CRS.

extension AML {
    /// A resource template: descriptors and an end tag, as a buffer.
    static func resources(_ descriptors: [[UInt8]]) -> AML { buffer(descriptors.flatMap { $0 } + [0x79, 0x00]) }

    /// Ports that a device decodes, in 16 bits (6.4.2.5).
    static func ports(_ range: Range<UInt64>) -> [UInt8] {
        let start = littleEndian(range.lowerBound, 2)
        return [0x47, 0x01] + start + start + [0x01, UInt8(truncatingIfNeeded: range.count)]
    }

    /// Memory below 4 GiB at a fixed place, readable and writable (6.4.3.4).
    static func memory32(_ range: Range<UInt64>) -> [UInt8] {
        [0x86, 0x09, 0x00, 0x01] + littleEndian(range.lowerBound, 4) + littleEndian(UInt64(range.count), 4)
    }

    /// An interrupt of its own, edge-triggered, active high (6.4.3.6).
    static func edgeInterrupt(_ gsi: UInt32) -> [UInt8] { [0x89, 0x06, 0x00, 0x03, 0x01] + littleEndian(UInt64(gsi), 4) }

    /// The kinds of address space that a bridge passes on.
    enum AddressSpaceKind: UInt8 {
        case memory = 0
        case ports = 1
        case buses = 2
    }

    /// A window that a bridge produces (6.4.3.5): 16, 32 or 64 bits wide.
    static func window(_ kind: AddressSpaceKind, _ range: Range<UInt64>, width: Int) -> [UInt8] {
        let tag: UInt8 = width == 8 ? 0x8a : width == 4 ? 0x87 : 0x88
        let specific: UInt8 =
            switch kind {
            case .memory: 0x01  // read-write, not cacheable
            case .ports: 0x03  // the whole range
            case .buses: 0x00
            }
        // Producer, positive decode, minimum and maximum fixed.
        let fields = [0, range.lowerBound, range.upperBound - 1, 0, UInt64(range.count)].flatMap { littleEndian($0, width) }
        let content = [kind.rawValue, 0x0c, specific] + fields
        return [tag] + littleEndian(UInt64(content.count), 2) + content
    }
}
