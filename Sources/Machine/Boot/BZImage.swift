import GuestMemory

/// Loads a bzImage: Linux's own boot protocol (Documentation/arch/x86/boot.rst), entered in 64-bit mode.
enum BZImage {
    /// Offsets of the setup header's fields, in the file and in the zero page alike.
    enum Field {
        static let setupSectors = 0x1f1
        static let systemSize = 0x1f4
        static let bootFlag = 0x1fe
        static let headerLength = 0x201
        static let magic = 0x202
        static let version = 0x206
        static let loaderType = 0x210
        static let loadFlags = 0x211
        static let initrdAddress = 0x218
        static let initrdSize = 0x21c
        static let commandLine = 0x228
        static let initrdLimit = 0x22c
        static let kernelAlignment = 0x230
        static let relocatable = 0x234
        static let extendedLoadFlags = 0x236
        static let commandLineSize = 0x238
        static let setupData = 0x250
        static let preferredAddress = 0x258
        static let initSize = 0x260
        /// The header can grow up to here, where the zero page goes on with something else.
        static let end = 0x290
    }

    /// The header's magic number, "HdrS".
    static let magic = Array("HdrS".utf8)
    /// boot_flag: a boot sector's signature.
    static let bootFlag: UInt16 = 0xaa55
    /// The oldest protocol that has xloadflags.
    private static let oldestVersion: UInt16 = 0x020c
    /// XLF_KERNEL_64: there is a 64-bit entry point at 0x200.
    private static let hasEntry64: UInt16 = 1 << 0
    private static let entry64Offset: UInt64 = 0x200

    /// Whether a file that begins with these bytes claims to be a bzImage.
    static func recognizes(_ start: ByteImage) -> Bool { start.has(magic, at: Field.magic) }

    /// Places the protected-mode part of the kernel in RAM.
    static func load(_ file: borrowing KernelFile, start: ByteImage, into memory: GuestMemory, map: AddressMap) throws(KernelError)
        -> LoadedKernel
    {
        guard let header = Header(start), start.bytes.count >= Field.end else {
            throw .truncated(.kernel, expected: UInt64(Field.end), found: file.size)
        }
        guard header.bootFlag == bootFlag else {
            throw .malformed(expected: "boot_flag 0xaa55 in the kernel's setup header", found: hex(header.bootFlag))
        }
        guard header.version >= oldestVersion else {
            throw .unsupported(expected: "boot protocol 2.12 or newer", found: "\(header.version >> 8).\(header.version & 0xff)")
        }
        guard header.extendedLoadFlags & hasEntry64 != 0 else {
            throw .unsupported(expected: "a bzImage with a 64-bit entry point", found: "one for 32-bit processors")
        }
        guard header.kernelAlignment == 0 || header.kernelAlignment.nonzeroBitCount == 1 else {
            throw .malformed(expected: "a power of two as kernel_alignment", found: hex(header.kernelAlignment))
        }

        // The boot sector counts in addition to the setup sectors; 0 means 4, for historical reasons.
        let setupSize = (UInt64(header.setupSectors == 0 ? 4 : header.setupSectors) + 1) * 512
        let systemSize = UInt64(header.systemSize) * 16
        guard systemSize > entry64Offset else {
            throw .malformed(expected: "a kernel behind the setup code", found: "a size of \(systemSize) bytes")
        }
        guard file.size >= setupSize + systemSize else {
            throw .truncated(.kernel, expected: setupSize + systemSize, found: file.size)
        }

        let needed = max(systemSize, UInt64(header.initSize))
        let address = try place(needed, header: header, map: map)
        try file.load(at: setupSize, count: systemSize, into: memory, at: address)
        return LoadedKernel(
            bootProtocol: .linux64(setupHeader: Array(start.bytes[Field.setupSectors..<header.end])),
            entry: address + entry64Offset, occupied: address..<address + needed,
            initrdLimit: UInt64(header.initrdLimit) + 1,
            commandLineLimit: header.commandLineSize == 0 ? 255 : Int(header.commandLineSize))
    }

    /// Where the kernel goes: where it prefers to be, and elsewhere only when that is outside RAM altogether (loaded lower than it
    /// prefers, it would move itself up again and run into the end of RAM there).
    private static func place(_ size: UInt64, header: Header, map: AddressMap) throws(KernelError) -> UInt64 {
        let limit = map.lowMemory.upperBound
        let preferred = header.preferredAddress
        if preferred >= AddressMap.highMemory, preferred < AddressMap.holeStart {
            guard size <= limit, preferred <= limit - size else { throw .kernelTooLarge(needed: preferred + size, end: limit) }
            return preferred
        }
        guard header.isRelocatable, let lowest = alignUp(AddressMap.highMemory, to: max(UInt64(header.kernelAlignment), 1)) else {
            throw .malformed(expected: "a preferred address between 1 MiB and 3 GiB", found: hex(preferred))
        }
        guard size <= limit, lowest <= limit - size else { throw .kernelTooLarge(needed: lowest + size, end: limit) }
        return lowest
    }

    /// The fields of the setup header that decide how the kernel is loaded.
    private struct Header {
        let setupSectors: UInt8
        let systemSize: UInt32
        let bootFlag: UInt16
        let version: UInt16
        let initrdLimit: UInt32
        let kernelAlignment: UInt32
        let isRelocatable: Bool
        let extendedLoadFlags: UInt16
        let commandLineSize: UInt32
        let preferredAddress: UInt64
        let initSize: UInt32
        /// Where the header ends. Its length counts from the magic number on, which follows the jump that holds the length.
        let end: Int

        init?(_ image: ByteImage) {
            guard let setupSectors = image.load(Field.setupSectors, as: UInt8.self),
                let systemSize = image.load(Field.systemSize, as: UInt32.self),
                let bootFlag = image.load(Field.bootFlag, as: UInt16.self),
                let length = image.load(Field.headerLength, as: UInt8.self),
                let version = image.load(Field.version, as: UInt16.self),
                let initrdLimit = image.load(Field.initrdLimit, as: UInt32.self),
                let kernelAlignment = image.load(Field.kernelAlignment, as: UInt32.self),
                let relocatable = image.load(Field.relocatable, as: UInt8.self),
                let extendedLoadFlags = image.load(Field.extendedLoadFlags, as: UInt16.self),
                let commandLineSize = image.load(Field.commandLineSize, as: UInt32.self),
                let preferredAddress = image.load(Field.preferredAddress, as: UInt64.self),
                let initSize = image.load(Field.initSize, as: UInt32.self)
            else { return nil }
            self.setupSectors = setupSectors
            self.systemSize = systemSize
            self.bootFlag = bootFlag
            self.version = version
            self.initrdLimit = initrdLimit
            self.kernelAlignment = kernelAlignment
            isRelocatable = relocatable != 0
            self.extendedLoadFlags = extendedLoadFlags
            self.commandLineSize = commandLineSize
            self.preferredAddress = preferredAddress
            self.initSize = initSize
            end = min(max(Field.magic + Int(length), Field.initSize + 4), Field.end)
        }
    }
}

/// A number as people read addresses and flags.
func hex(_ value: some BinaryInteger) -> String { "0x" + String(value, radix: 16) }
