import GuestMemory
import Host
import Virtqueue

@testable import Machine

/// Kernels made by hand, small and correct; tests break them one field at a time.
enum Fabricated {
    static let memorySize: UInt64 = 64 << 20

    /// A bzImage of four setup sectors and 8 KiB of "kernel", whose bytes count up.
    static func bzImage(_ change: (inout ByteImage) -> Void = { _ in }) -> [UInt8] {
        var image = ByteImage(count: 5 * 512 + 8192)
        image.store(UInt8(4), at: 0x1f1)
        image.store(UInt32(8192 / 16), at: 0x1f4)
        image.store(UInt16(0xaa55), at: 0x1fe)
        image.store(UInt16(0x6aeb), at: 0x200)  // a jump over the header, which thereby says how long it is
        for (index, byte) in "HdrS".utf8.enumerated() { image.bytes[0x202 + index] = byte }
        image.store(UInt16(0x020f), at: 0x206)
        image.store(UInt8(1), at: 0x211)
        image.store(UInt32(0x7fff_ffff), at: 0x22c)
        image.store(UInt32(0x20_0000), at: 0x230)
        image.store(UInt8(1), at: 0x234)
        image.store(UInt16(0x3f), at: 0x236)
        image.store(UInt32(2047), at: 0x238)
        image.store(UInt64(0x100_0000), at: 0x258)
        image.store(UInt32(0x10_0000), at: 0x260)
        for index in 0..<8192 { image.bytes[5 * 512 + index] = UInt8(truncatingIfNeeded: index &* 7 &+ index >> 8) }
        change(&image)
        return image.bytes
    }

    /// An ELF kernel with two segments at 1 MiB and 2 MiB (the second with a BSS) and, at wish, a note with a PVH entry point.
    static func elf(pvh: Bool, _ change: (inout ByteImage) -> Void = { _ in }) -> [UInt8] {
        var image = ByteImage(count: 0x3000)
        for (index, byte) in [UInt8](arrayLiteral: 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1).enumerated() { image.bytes[index] = byte }
        image.store(UInt16(2), at: 0x10)
        image.store(UInt16(62), at: 0x12)
        image.store(UInt32(1), at: 0x14)
        image.store(UInt64(0x10_0010), at: 0x18)
        image.store(UInt64(64), at: 0x20)
        image.store(UInt16(64), at: 0x34)
        image.store(UInt16(56), at: 0x36)
        image.store(UInt16(pvh ? 3 : 2), at: 0x38)
        func segment(_ index: Int, type: UInt32, offset: UInt64, address: UInt64, fileSize: UInt64, memorySize: UInt64) {
            let base = 64 + 56 * index
            image.store(type, at: base)
            image.store(UInt32(5), at: base + 4)
            image.store(offset, at: base + 8)
            image.store(0xffff_ffff_8000_0000 + address, at: base + 16)
            image.store(address, at: base + 24)
            image.store(fileSize, at: base + 32)
            image.store(memorySize, at: base + 40)
            image.store(UInt64(4), at: base + 48)
        }
        segment(0, type: 1, offset: 0x1000, address: 0x10_0000, fileSize: 0x1000, memorySize: 0x1000)
        segment(1, type: 1, offset: 0x2000, address: 0x20_0000, fileSize: 0x800, memorySize: 0x5000)
        if pvh {
            segment(2, type: 4, offset: 0x400, address: 0, fileSize: 44, memorySize: 44)
            // Somebody else's note first.
            image.store(UInt32(4), at: 0x400)
            image.store(UInt32(8), at: 0x404)
            image.store(UInt32(18), at: 0x408)
            image.store(UInt32(0x00554e47), at: 0x40c)
            image.store(UInt32(4), at: 0x418)
            image.store(UInt32(4), at: 0x41c)
            image.store(UInt32(18), at: 0x420)
            image.store(UInt32(0x006e_6558), at: 0x424)
            image.store(UInt32(0x10_0040), at: 0x428)
        }
        for index in 0..<0x1800 { image.bytes[0x1000 + index] = UInt8(truncatingIfNeeded: index &* 5 &+ index >> 8) }
        change(&image)
        return image.bytes
    }
}

/// An open file with this content.
func file(_ bytes: [UInt8]) throws -> OwnedDescriptor {
    let file = try makeMemoryFile(name: "test", size: 0)
    var rest = bytes[...]
    while !rest.isEmpty {
        let chunk = Array(rest)
        rest = rest.dropFirst(try file.write(chunk.span.untyped))
    }
    return file
}

/// A machine's memory, with what a load left in it.
struct Loaded {
    let map: AddressMap
    let memory: GuestMemory

    init(size: UInt64 = Fabricated.memorySize) throws {
        map = try AddressMap(memorySize: size)
        memory = try GuestMemory(ranges: map.memory)
    }

    func load(
        _ kernel: [UInt8], initrd: [UInt8]? = nil, commandLine: String = "console=ttyS0", randomSeed: [UInt8] = [], rsdp: UInt64? = 0xe0000
    ) throws -> Kernel.EntryPoint {
        let kernel = try file(kernel)
        let open: OwnedDescriptor?
        if let initrd { open = try file(initrd) } else { open = nil }
        return try Kernel.load(
            kernel, initrd: open, commandLine: commandLine, randomSeed: randomSeed, rsdp: rsdp, map: map, into: memory)
    }

    func integer<T: FixedWidthInteger>(_ address: UInt64, as type: T.Type = T.self) -> T? { memory.load(at: address, as: T.self) }
}
