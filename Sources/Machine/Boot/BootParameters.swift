import GuestMemory

/// What the loader tells any kernel about the machine, whichever protocol carries it.
struct BootInformation: Sendable {
    /// Where the command line lies; it ends with a zero byte.
    var commandLine: UInt64
    /// Where the initrd lies.
    var initrd: Range<UInt64>?
    /// Where ACPI's root pointer lies.
    var rsdp: UInt64?
    /// Random bytes for the kernel's generator.
    var randomSeed: [UInt8]
    /// The memory map.
    var memoryMap: [MemoryMapEntry]
}

/// The zero page of Linux's boot protocol: struct boot_params (Documentation/arch/x86/zero-page.rst).
enum BootParameters {
    private enum Field {
        static let rsdp = 0x70
        static let initrdAddressHigh = 0xc0
        static let initrdSizeHigh = 0xc4
        static let commandLineHigh = 0xc8
        static let memoryMapCount = 0x1e8
        static let memoryMap = 0x2d0
    }
    private static let memoryMapEntrySize = 20
    /// The header then begins with "no boot loader in particular".
    private static let unknownLoader: UInt8 = 0xff
    private static let loadedHigh: UInt8 = 1 << 0
    /// SETUP_RNG_SEED: an entry of the setup_data list (asm/setup_data.h).
    private static let randomSeed: UInt32 = 9

    /// Writes the zero page and what it points to.
    static func write(_ information: BootInformation, setupHeader: [UInt8], into memory: GuestMemory) {
        var page = ByteImage(count: 4096)
        page.bytes.replaceSubrange(BZImage.Field.setupSectors..<BZImage.Field.setupSectors + setupHeader.count, with: setupHeader)
        page.store(unknownLoader, at: BZImage.Field.loaderType)
        page.store((page.load(BZImage.Field.loadFlags, as: UInt8.self) ?? 0) | loadedHigh, at: BZImage.Field.loadFlags)
        page.store(UInt32(truncatingIfNeeded: information.commandLine), at: BZImage.Field.commandLine)
        page.store(UInt32(truncatingIfNeeded: information.commandLine >> 32), at: Field.commandLineHigh)
        let initrd = information.initrd ?? 0..<0
        let size = initrd.upperBound - initrd.lowerBound
        page.store(UInt32(truncatingIfNeeded: initrd.lowerBound), at: BZImage.Field.initrdAddress)
        page.store(UInt32(truncatingIfNeeded: initrd.lowerBound >> 32), at: Field.initrdAddressHigh)
        page.store(UInt32(truncatingIfNeeded: size), at: BZImage.Field.initrdSize)
        page.store(UInt32(truncatingIfNeeded: size >> 32), at: Field.initrdSizeHigh)
        page.store(information.rsdp ?? 0, at: Field.rsdp)

        page.store(UInt8(truncatingIfNeeded: information.memoryMap.count), at: Field.memoryMapCount)
        for (index, entry) in information.memoryMap.enumerated() {
            let base = Field.memoryMap + index * memoryMapEntrySize
            page.store(entry.range.lowerBound, at: base)
            page.store(entry.size, at: base + 8)
            page.store(entry.kind.rawValue, at: base + 16)
        }

        page.store(writeSetupData(information, into: memory), at: BZImage.Field.setupData)
        memory.write(page.bytes, at: AddressMap.zeroPage.lowerBound)
    }

    /// Writes the list of setup_data; returns its address, 0 for an empty list. The kernel wipes the seed when it has taken it.
    private static func writeSetupData(_ information: BootInformation, into memory: GuestMemory) -> UInt64 {
        let seed = information.randomSeed.prefix(1024)
        guard !seed.isEmpty else { return 0 }
        var data = ByteImage([])
        data.append(UInt64(0))  // The list ends here.
        data.append(randomSeed)
        data.append(UInt32(seed.count))
        data.append(Array(seed))
        memory.write(data.bytes, at: AddressMap.setupData.lowerBound)
        return AddressMap.setupData.lowerBound
    }
}
