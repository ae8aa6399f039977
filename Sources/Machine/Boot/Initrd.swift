import GuestMemory

/// Places an initrd: as high as the kernel can reach it, so that it is not in the way when the kernel unpacks itself.
enum Initrd {
    /// Loads the file beside the kernel; returns where it lies.
    static func load(_ file: borrowing KernelFile, kernel: LoadedKernel, into memory: GuestMemory, map: AddressMap) throws(KernelError)
        -> Range<UInt64>
    {
        let end = min(map.lowMemory.upperBound, kernel.initrdLimit)
        let size = file.size
        // Above the kernel if that has room, and else between 1 MiB and the kernel.
        let rooms = [
            room(from: kernel.occupied.upperBound, to: end),
            room(from: AddressMap.highMemory, to: min(kernel.occupied.lowerBound, end)),
        ]
        for room in rooms where room.size >= size {
            let start = (room.end - size) & ~0xfff
            try file.load(at: 0, count: size, into: memory, at: start)
            return start..<start + size
        }
        throw .initrdTooLarge(size: size, room: rooms.map { $0.size }.max() ?? 0)
    }

    /// The whole pages between two addresses.
    private static func room(from start: UInt64, to end: UInt64) -> (end: UInt64, size: UInt64) {
        let end = end & ~0xfff
        guard let start = alignUp(start, to: 4096), start < end else { return (end, 0) }
        return (end, end - start)
    }
}
