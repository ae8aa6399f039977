import GuestMemory

/// Loads an ELF kernel by its program headers: vmlinux, or a bare-metal payload.
///
/// A kernel with a Xen note that names a 32-bit entry point is started by the PVH protocol, any other by Linux's 64-bit one, at the
/// ELF entry point.
enum ELFKernel {
    private static let headerSize = 64
    private static let programHeaderSize = 56
    /// More than any kernel has; a bound for what a hostile file makes us read.
    private static let maximumProgramHeaders = 256
    private static let x86_64: UInt16 = 62
    private static let executable: UInt16 = 2
    private static let sharedObject: UInt16 = 3
    private static let loadSegment: UInt32 = 1
    private static let noteSegment: UInt32 = 4

    /// Whether a file that begins with these bytes is an ELF file.
    static func recognizes(_ start: ByteImage) -> Bool { start.has([0x7f, 0x45, 0x4c, 0x46], at: 0) }

    /// Places the kernel's segments in RAM.
    static func load(_ file: borrowing KernelFile, start: ByteImage, into memory: GuestMemory, map: AddressMap) throws(KernelError)
        -> LoadedKernel
    {
        let entry = try checkedEntry(start, fileSize: file.size)
        let segments = try programHeaders(file, start: start)
        let loaded = segments.filter { $0.type == loadSegment && $0.memorySize > 0 }.sorted { $0.address < $1.address }
        guard let first = loaded.first, let last = loaded.last else {
            throw .malformed(expected: "an ELF file with segments to load", found: "one without")
        }

        var end: UInt64 = 0
        for segment in loaded {
            try check(segment, after: end, fileSize: file.size, map: map)
            end = segment.address + segment.memorySize
        }
        for segment in loaded where segment.fileSize > 0 {
            try file.load(at: segment.offset, count: segment.fileSize, into: memory, at: segment.address)
        }

        let occupied = first.address..<last.address + last.memorySize
        var kernel = LoadedKernel(
            bootProtocol: .linux64(setupHeader: setupHeader), entry: entry, occupied: occupied,
            initrdLimit: AddressMap.holeStart, commandLineLimit: LoadedKernel.defaultCommandLineLimit)
        for segment in segments where segment.type == noteSegment {
            if let address = try ELFNotes.physicalEntry(file, offset: segment.offset, size: segment.fileSize, alignment: segment.alignment)
            {
                kernel.bootProtocol = .pvh
                kernel.entry = address
                break
            }
        }
        guard loaded.contains(where: { kernel.entry >= $0.address && kernel.entry - $0.address < $0.fileSize }) else {
            throw .malformed(expected: "an entry point inside a loaded segment", found: hex(kernel.entry))
        }
        return kernel
    }

    /// Checks what kind of ELF file it is.
    private static func checkedEntry(_ start: ByteImage, fileSize: UInt64) throws(KernelError) -> UInt64 {
        guard let kind = start.load(0x10, as: UInt16.self), let machine = start.load(0x12, as: UInt16.self),
            let entry = start.load(0x18, as: UInt64.self), start.bytes.count >= headerSize
        else { throw .truncated(.kernel, expected: UInt64(headerSize), found: fileSize) }
        guard start.bytes[5] == 1 else { throw .foreign(found: "a big-endian processor") }
        guard start.bytes[4] == 2, machine == x86_64 else { throw .foreign(found: architecture(machine, is64Bit: start.bytes[4] == 2)) }
        guard kind == executable || kind == sharedObject else {
            throw .notAKernel(found: kind == 1 ? "an ELF object file" : "an ELF file of type \(kind)")
        }
        return entry
    }

    private static func architecture(_ machine: UInt16, is64Bit: Bool) -> String {
        switch machine {
        case 3: "32-bit x86"
        case x86_64: is64Bit ? "x86-64" : "32-bit x86"
        case 40: "32-bit Arm"
        case 183: "AArch64"
        case 243: "RISC-V"
        case 20, 21: "PowerPC"
        case 22: "s390"
        case 258: "LoongArch"
        default: "ELF machine \(machine)"
        }
    }

    /// A program header.
    private struct Segment {
        let type: UInt32
        let offset: UInt64
        let address: UInt64
        let fileSize: UInt64
        let memorySize: UInt64
        let alignment: UInt64
    }

    private static func programHeaders(_ file: borrowing KernelFile, start: ByteImage) throws(KernelError) -> [Segment] {
        guard let offset = start.load(0x20, as: UInt64.self), let entrySize = start.load(0x36, as: UInt16.self),
            let count = start.load(0x38, as: UInt16.self)
        else { throw .truncated(.kernel, expected: UInt64(headerSize), found: file.size) }
        guard entrySize == programHeaderSize, count > 0, Int(count) <= maximumProgramHeaders else {
            throw .malformed(
                expected: "1 to \(maximumProgramHeaders) program headers of \(programHeaderSize) bytes",
                found: "\(count) of \(entrySize)")
        }
        let length = Int(count) * programHeaderSize
        let (end, overflow) = offset.addingReportingOverflow(UInt64(length))
        guard !overflow, end <= file.size else { throw .truncated(.kernel, expected: overflow ? .max : end, found: file.size) }
        let table = try file.bytes(at: offset, count: length)
        var segments: [Segment] = []
        for index in 0..<Int(count) {
            let base = index * programHeaderSize
            guard let type = table.load(base, as: UInt32.self), let offset = table.load(base + 0x08, as: UInt64.self),
                let address = table.load(base + 0x18, as: UInt64.self), let fileSize = table.load(base + 0x20, as: UInt64.self),
                let memorySize = table.load(base + 0x28, as: UInt64.self), let alignment = table.load(base + 0x30, as: UInt64.self)
            else { throw .truncated(.kernel, expected: end, found: file.size) }
            segments.append(
                Segment(
                    type: type, offset: offset, address: address, fileSize: fileSize, memorySize: memorySize, alignment: alignment))
        }
        return segments
    }

    /// Checks that a segment lies in the file, in RAM above 1 MiB, and behind the one before it.
    private static func check(_ segment: Segment, after end: UInt64, fileSize: UInt64, map: AddressMap) throws(KernelError) {
        guard segment.fileSize <= segment.memorySize else {
            throw .malformed(
                expected: "segments that are not larger in the file than in memory",
                found: "\(segment.fileSize) bytes for \(segment.memorySize)")
        }
        let (fileEnd, fileOverflow) = segment.offset.addingReportingOverflow(segment.fileSize)
        guard !fileOverflow, fileEnd <= fileSize else {
            throw .truncated(.kernel, expected: fileOverflow ? .max : fileEnd, found: fileSize)
        }
        guard segment.address >= AddressMap.highMemory else {
            throw .malformed(expected: "segments at physical addresses from 1 MiB on", found: "one at \(hex(segment.address))")
        }
        guard segment.address >= end else {
            throw .malformed(expected: "segments that do not overlap", found: "one at \(hex(segment.address)) inside another")
        }
        let limit = map.lowMemory.upperBound
        guard segment.memorySize <= limit, segment.address <= limit - segment.memorySize else {
            let (needed, overflow) = segment.address.addingReportingOverflow(segment.memorySize)
            guard !overflow, needed <= AddressMap.holeStart else {
                throw .malformed(expected: "segments below 3 GiB", found: "one at \(hex(segment.address)) of \(segment.memorySize) bytes")
            }
            throw .kernelTooLarge(needed: needed, end: limit)
        }
    }

    /// A setup header for a kernel whose file has none: what a boot loader would fill in, from 0x1f1 on.
    private static var setupHeader: [UInt8] {
        var image = ByteImage(count: BZImage.Field.end)
        image.store(BZImage.bootFlag, at: BZImage.Field.bootFlag)
        for (index, byte) in BZImage.magic.enumerated() { image.bytes[BZImage.Field.magic + index] = byte }
        image.store(UInt16(0x020c), at: BZImage.Field.version)
        image.store(UInt32(0x100_0000), at: BZImage.Field.kernelAlignment)
        return Array(image.bytes[BZImage.Field.setupSectors...])
    }
}
