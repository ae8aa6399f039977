public import GuestMemory
public import Host

/// Loading a kernel: a bzImage, an ELF vmlinux or a bare-metal ELF payload.
public enum Kernel {
    /// Enough of a file to tell what it is; it holds both the ELF header and the setup header of a bzImage.
    private static let startSize = 4096

    /// Where the guest begins, as `BootState` needs it.
    public enum EntryPoint: Sendable, Equatable {
        /// In 64-bit mode, with rsi pointing to the zero page (Linux's 64-bit boot protocol).
        case long64(address: UInt64)
        /// In 32-bit protected mode without paging, with ebx pointing to hvm_start_info (PVH).
        case pvh32(address: UInt64)
    }

    /// Places kernel, initrd and command line in guest memory, with everything that the kernel's boot protocol wants to be told.
    ///
    /// `memory` must have been made from `map` and be all zero below the hole. The files are read from the beginning, wherever their
    /// positions are; nothing in them is trusted. `rsdp` is what `ACPITables.write` returned, nil without ACPI; `randomSeed` (32 bytes are
    /// usual, more than 1024 are cut off) starts the guest's random generator, empty for none.
    public static func load(
        _ kernel: borrowing OwnedDescriptor, initrd: borrowing OwnedDescriptor?, commandLine: String, randomSeed: [UInt8] = [],
        rsdp: UInt64?, map: AddressMap, into memory: GuestMemory
    ) throws(KernelError) -> EntryPoint {
        let loaded = try place(kernel, map: map, into: memory)
        try write(commandLine, limit: loaded.commandLineLimit, into: memory)
        ResetVector.write(into: memory)
        var information = BootInformation(
            commandLine: AddressMap.commandLine.lowerBound, initrd: nil, rsdp: rsdp, randomSeed: randomSeed, memoryMap: map.memoryMap)
        switch initrd {
        case .some(let descriptor):
            information.initrd = try Initrd.load(KernelFile.share(descriptor, .initrd), kernel: loaded, into: memory, map: map)
        case .none: break
        }
        switch loaded.bootProtocol {
        case .linux64(let setupHeader):
            BootParameters.write(information, setupHeader: setupHeader, into: memory)
            return .long64(address: loaded.entry)
        case .pvh:
            PVHStartInfo.write(information, into: memory)
            return .pvh32(address: loaded.entry)
        }
    }

    private static func place(_ kernel: borrowing OwnedDescriptor, map: AddressMap, into memory: GuestMemory) throws(KernelError)
        -> LoadedKernel
    {
        let file = try KernelFile.share(kernel, .kernel)
        let start = try file.bytes(at: 0, count: startSize)
        if ELFKernel.recognizes(start) { return try ELFKernel.load(file, start: start, into: memory, map: map) }
        if BZImage.recognizes(start) { return try BZImage.load(file, start: start, into: memory, map: map) }
        throw FileKind.error(start)
    }

    private static func write(_ commandLine: String, limit: Int, into memory: GuestMemory) throws(KernelError) {
        let bytes = Array(commandLine.utf8)
        let room = AddressMap.commandLine.upperBound - AddressMap.commandLine.lowerBound - 1
        let limit = min(limit, Int(room))
        guard bytes.count <= limit else { throw .commandLineTooLong(limit: limit, length: bytes.count) }
        guard !bytes.contains(0) else { throw .commandLineHasNUL }
        memory.write(bytes + [0], at: AddressMap.commandLine.lowerBound)
    }
}
