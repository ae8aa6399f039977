/// Where everything stands in the guest's address spaces: the one table from which memory slots, E820, ACPI, the PCI windows and the
/// devices' bus ranges follow.
///
/// What does not depend on the VM is a static member; an instance adds what follows from the amount of memory and from the width of
/// the guest's physical addresses.
public struct AddressMap: Sendable, Equatable {
    /// RAM for the guest, ascending: below the hole for devices and, when there is more, from 4 GiB. Each becomes one memory slot.
    public let memory: [Range<UInt64>]
    /// Where 64-bit BARs are placed: above RAM. Empty when the guest's physical addresses leave no room.
    public let pciWindow64: Range<UInt64>

    // MARK: RAM

    /// The smallest and the largest amount of memory for which there is a map, in bytes.
    public static let memorySizes: ClosedRange<UInt64> = 2 << 20...16 << 40
    /// RAM reaches from 0 to here at most; the rest of it continues at 4 GiB.
    public static let holeStart: UInt64 = 0xc000_0000
    /// The end of the hole between the two parts of RAM.
    public static let holeEnd: UInt64 = 0x1_0000_0000
    /// The part of low RAM that a PC reserves for video memory and firmware; ours holds the ACPI tables.
    public static let firmware: Range<UInt64> = 0xa_0000..<0x10_0000
    /// ACPI tables, the RSDP first: where an operating system searches for one (ACPI 6.5, 5.2.5.1).
    public static let acpi: Range<UInt64> = 0xe_0000..<0xf_f000
    /// The 16 bytes of the VM Generation ID, in a page that holds no RAM to the guest.
    public static let vmGeneration: Range<UInt64> = 0xf_f000..<0xf_f010
    /// Where a PC's processor finds the firmware when it starts; ours holds a reset.
    public static let resetVector: Range<UInt64> = 0xf_fff0..<0x10_0000

    // MARK: What the loader leaves in low RAM for the kernel

    /// The boot GDT.
    public static let bootGDT: Range<UInt64> = 0x500..<0x540
    /// hvm_start_info of the PVH boot protocol, with its modules and memory map.
    public static let pvhStartInfo: Range<UInt64> = 0x6000..<0x7000
    /// The zero page (struct boot_params).
    public static let zeroPage: Range<UInt64> = 0x7000..<0x8000
    /// A first stack, which grows down from the end.
    public static let bootStack: Range<UInt64> = 0x8000..<0x9000
    /// Page tables that map the first 4 GiB one to one.
    public static let bootPageTables: Range<UInt64> = 0x9000..<0xf000
    /// The command line, with its terminating zero.
    public static let commandLine: Range<UInt64> = 0x2_0000..<0x3_0000
    /// The list of setup_data.
    public static let setupData: Range<UInt64> = 0x3_0000..<0x3_1000
    /// Kernels and initrds are placed from here on.
    public static let highMemory: UInt64 = 0x10_0000

    // MARK: The hole

    /// Where 32-bit BARs are placed.
    public static let pciWindow32: Range<UInt64> = 0xc000_0000..<0xe000_0000
    /// How many PCI buses there are; each takes 1 MiB of configuration space.
    public static let pciBusCount: UInt64 = 1
    /// PCI Express configuration space (ECAM).
    public static let ecam: Range<UInt64> = 0xe000_0000..<0xe000_0000 + pciBusCount << 20
    /// virtio-mmio registers: one slot after the other.
    public static let virtioMMIO: Range<UInt64> = 0xfe00_0000..<0xfe00_0000 + UInt64(GSI.virtioMMIO.count) * virtioMMIOStride
    /// From one virtio-mmio slot to the next.
    public static let virtioMMIOStride: UInt64 = 0x1000
    /// IOAPIC registers.
    public static let ioapic: Range<UInt64> = 0xfec0_0000..<0xfec0_1000
    /// Local APIC registers, which KVM emulates.
    public static let localAPIC: Range<UInt64> = 0xfee0_0000..<0xfee0_1000
    /// The page for KVM_SET_IDENTITY_MAP_ADDR (Intel hosts that cannot run real mode need it).
    public static let identityMap: Range<UInt64> = 0xfeff_c000..<0xfeff_d000
    /// The three pages for KVM_SET_TSS_ADDR (Intel hosts).
    public static let taskState: Range<UInt64> = 0xfeff_d000..<0xff00_0000

    // MARK: Ports

    /// The keyboard controller, as far as it resets (`reboot=k`), and port B of the system control.
    public static let i8042: Range<UInt64> = 0x60..<0x60 + I8042.byteCount
    /// The real-time clock: index and data.
    public static let rtc: Range<UInt64> = 0x70..<0x70 + RealTimeClock.byteCount
    /// The first serial port.
    public static let com1: Range<UInt64> = 0x3f8..<0x3f8 + Serial16550.byteCount
    /// A bare-metal guest ends the machine with the byte that it writes here; only there when the configuration asks for it.
    public static let debugExit: Range<UInt64> = 0x501..<0x501 + DebugExit.byteCount
    /// pvpanic: the guest writes why it gives up.
    public static let pvpanic: Range<UInt64> = 0x505..<0x505 + PVPanic.byteCount
    /// The generic event device's status.
    public static let events: Range<UInt64> = 0x600..<0x600 + GenericEventDevice.byteCount
    /// The ACPI sleep control and sleep status registers (ACPI 6.5, 4.8.3.7).
    public static let sleepControl: Range<UInt64> = 0x604..<0x604 + SleepControl.byteCount
    /// The PCI configuration mechanism's address and data ports; the reset register lies inside, as on a PC.
    public static let pciConfiguration: Range<UInt64> = 0xcf8..<0xd00
    /// The reset register, 8 bits.
    public static let resetRegister: UInt64 = 0xcf9

    /// The map for `memorySize` bytes of RAM and guest-physical addresses of `physicalAddressBits` (CPUID 0x80000008).
    public init(memorySize: UInt64, physicalAddressBits: Int = 36) throws(AddressMapError) {
        guard memorySize % 4096 == 0 else { throw .unaligned(memorySize) }
        guard Self.memorySizes.contains(memorySize) else { throw .size(memorySize) }
        var memory = [0..<min(memorySize, Self.holeStart)]
        if memorySize > Self.holeStart { memory.append(Self.holeEnd..<Self.holeEnd + (memorySize - Self.holeStart)) }
        let limit = UInt64(1) << UInt64(min(max(physicalAddressBits, 32), 52))
        let end = max(Self.holeEnd, memory[memory.count - 1].upperBound)
        guard end <= limit else { throw .addressBits(memorySize, physicalAddressBits) }
        // Aligned to what the largest BAR that fits in practice wants; no larger than needed, so that page tables for it stay small.
        let start = (end + (1 << 30) - 1) & ~((1 << 30) - 1)
        self.memory = memory
        pciWindow64 = min(start, limit)..<min(start + (64 << 30), limit)
    }

    /// The registers of a virtio-mmio slot, 0 ..< GSI.virtioMMIO.count; nil for a slot that does not exist.
    public static func virtioMMIO(slot: Int) -> Range<UInt64>? {
        guard GSI.virtioMMIO.indices.contains(slot) else { return nil }
        let start = virtioMMIO.lowerBound + UInt64(slot) * virtioMMIOStride
        return start..<start + virtioMMIOStride
    }

    /// RAM below the hole, which holds everything that the boot protocols pass to a kernel.
    public var lowMemory: Range<UInt64> { memory[0] }
    /// The amount of RAM in bytes.
    public var memorySize: UInt64 { memory.reduce(0) { $0 + ($1.upperBound - $1.lowerBound) } }
}

/// An amount of memory for which there is no address map. The descriptions expect the JSON path in front.
public enum AddressMapError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Not a multiple of the page size.
    case unaligned(UInt64)
    /// Too little or too much.
    case size(UInt64)
    /// More than the guest's physical addresses can reach: the size and their width in bits.
    case addressBits(UInt64, Int)

    /// One sentence: what was expected and what was found.
    public var description: String {
        switch self {
        case .unaligned(let size): "expected a multiple of 4096 bytes, found \(size)"
        case .size(let size):
            "expected from \(AddressMap.memorySizes.lowerBound >> 20) MiB to \(AddressMap.memorySizes.upperBound >> 40) TiB of memory, found \(size) bytes"
        case .addressBits(let size, let bits):
            "expected memory that \(bits)-bit guest-physical addresses can reach, found \(size) bytes"
        }
    }
}
