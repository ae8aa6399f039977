/// The notes of an ELF kernel, of which one matters: XEN_ELFNOTE_PHYS32_ENTRY (Xen's public/elfnote.h), the PVH entry point.
enum ELFNotes {
    private static let owner = Array("Xen\0".utf8)
    private static let physical32Entry: UInt32 = 18
    /// Notes are small; what lies beyond is not read.
    private static let maximumSize: UInt64 = 64 << 10

    /// The entry point, if this segment of notes names one.
    static func physicalEntry(_ file: borrowing KernelFile, offset: UInt64, size: UInt64, alignment: UInt64) throws(KernelError) -> UInt64?
    {
        let notes = try file.bytes(at: offset, count: Int(min(size, maximumSize)))
        let alignment: UInt64 = alignment == 8 ? 8 : 4
        var position: UInt64 = 0
        while position < UInt64(notes.bytes.count) {
            let base = Int(position)
            guard let nameSize = notes.load(base, as: UInt32.self), let descriptionSize = notes.load(base + 4, as: UInt32.self),
                let type = notes.load(base + 8, as: UInt32.self)
            else { return nil }
            // 32-bit sizes: none of these sums can leave 64 bits.
            let name = position + 12
            let description = (name + UInt64(nameSize) + alignment - 1) & ~(alignment - 1)
            if type == physical32Entry, Int(nameSize) == owner.count, notes.has(owner, at: Int(name)) {
                // Written with the pointer width of the assembler that made it: 4 or 8 bytes.
                if descriptionSize >= 8 { return notes.load(Int(description), as: UInt64.self) }
                if descriptionSize >= 4 { return notes.load(Int(description), as: UInt32.self).map(UInt64.init) }
            }
            position = (description + UInt64(descriptionSize) + alignment - 1) & ~(alignment - 1)
        }
        return nil
    }
}
