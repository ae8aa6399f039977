import GuestMemory

/// What a PVH kernel finds behind ebx: struct hvm_start_info, version 1 (Xen's public/arch-x86/hvm/start_info.h).
enum PVHStartInfo {
    private static let magic: UInt32 = 0x336e_c578
    private static let version: UInt32 = 1
    private static let size: UInt64 = 56
    private static let moduleSize: UInt64 = 32

    /// Writes the structure, its list of modules and its memory map.
    static func write(_ information: BootInformation, into memory: GuestMemory) {
        let base = AddressMap.pvhStartInfo.lowerBound
        let modules = base + size
        let map = modules + moduleSize
        var image = ByteImage([])
        image.append(magic)
        image.append(version)
        image.append(UInt32(0))  // Flags: neither privileged nor the initial domain.
        image.append(UInt32(information.initrd == nil ? 0 : 1))
        image.append(information.initrd == nil ? 0 : modules)
        image.append(information.commandLine)
        image.append(information.rsdp ?? 0)
        image.append(map)
        image.append(UInt32(information.memoryMap.count))
        image.append(UInt32(0))

        // A module's place stays even when there is none, so that the map's address does not depend on it.
        let initrd = information.initrd ?? 0..<0
        image.append(initrd.lowerBound)
        image.append(initrd.upperBound - initrd.lowerBound)
        image.append(UInt64(0))  // A module has no command line.
        image.append(UInt64(0))

        for entry in information.memoryMap {
            image.append(entry.range.lowerBound)
            image.append(entry.size)
            image.append(entry.kind.rawValue)
            image.append(UInt32(0))
        }
        memory.write(image.bytes, at: base)
    }
}
