import GuestMemory
import Host
import Testing

@testable import Machine

@Suite("Kernel loading") struct KernelTests {
    static let zeroPage = AddressMap.zeroPage.lowerBound

    @Test("a bzImage is placed where it prefers to be and entered at its 64-bit entry point (boot.rst)")
    func bzImage() throws {
        let loaded = try Loaded()
        let image = Fabricated.bzImage()
        #expect(try loaded.load(image) == .long64(address: 0x100_0200))
        #expect(loaded.memory.read(at: 0x100_0000, count: 8192) == Array(image[(5 * 512)...]))
        // The setup header is copied as far as it says it reaches, and not beyond.
        let header = 0x1f1..<0x202 + 0x6a
        let page = try #require(loaded.memory.read(at: Self.zeroPage, count: 4096))
        for offset in [0x1f1, 0x1fe, 0x202, 0x206, 0x22c, 0x236, 0x258, 0x260] {
            #expect(header.contains(offset) && page[offset] == image[offset], "\(offset)")
        }
        #expect(page[0x210] == 0xff)
        #expect(page[0x211] == 1)
        #expect(page[0x1ef] == 0, "the sentinel must be clear, or the kernel distrusts the page")
    }

    @Test("a header without a preferred address is taken to the lowest aligned place if the kernel is relocatable")
    func relocatable() throws {
        let image = Fabricated.bzImage { $0.store(UInt64(0), at: 0x258) }
        #expect(try Loaded().load(image) == .long64(address: 0x20_0200))
    }

    @Test("the memory map lies in the zero page") func memoryMap() throws {
        let loaded = try Loaded()
        _ = try loaded.load(Fabricated.bzImage())
        #expect(loaded.integer(Self.zeroPage + 0x1e8, as: UInt8.self) == UInt8(loaded.map.memoryMap.count))
        for (index, entry) in loaded.map.memoryMap.enumerated() {
            let base = Self.zeroPage + 0x2d0 + UInt64(index) * 20
            #expect(loaded.integer(base) == entry.range.lowerBound)
            #expect(loaded.integer(base + 8) == entry.size)
            #expect(loaded.integer(base + 16) == entry.kind.rawValue)
        }
    }

    @Test("command line, ACPI root and random seed are found through the zero page") func pointers() throws {
        let loaded = try Loaded()
        _ = try loaded.load(Fabricated.bzImage(), commandLine: "a=b c", randomSeed: [UInt8](1...32))
        let commandLine: UInt32 = try #require(loaded.integer(Self.zeroPage + 0x228))
        #expect(loaded.memory.read(at: UInt64(commandLine), count: 6) == Array("a=b c\0".utf8))
        #expect(loaded.integer(Self.zeroPage + 0x70) == UInt64(0xe0000))
        let setupData: UInt64 = try #require(loaded.integer(Self.zeroPage + 0x250))
        #expect(loaded.integer(setupData) == UInt64(0))
        #expect(loaded.integer(setupData + 8) == UInt32(9))
        #expect(loaded.integer(setupData + 12) == UInt32(32))
        #expect(loaded.memory.read(at: setupData + 16, count: 32) == [UInt8](1...32))
    }

    @Test("a jump to the firmware in real mode (ffff:0000) finds a reset through the keyboard controller") func resetVector() throws {
        let loaded = try Loaded()
        _ = try loaded.load(Fabricated.bzImage())
        let code = try #require(loaded.memory.read(at: 0xffff0, count: 4))
        #expect(code == [0xb0, 0xfe, 0xe6, UInt8(AddressMap.i8042.lowerBound + 4)])
    }

    @Test("an initrd lies as high as the kernel can reach it, on whole pages") func initrd() throws {
        let bytes = [UInt8](repeating: 0x5a, count: 5000)
        let loaded = try Loaded()
        _ = try loaded.load(Fabricated.bzImage(), initrd: bytes)
        let address: UInt32 = try #require(loaded.integer(Self.zeroPage + 0x218))
        #expect(UInt64(address) == Fabricated.memorySize - 8192)
        #expect(loaded.integer(Self.zeroPage + 0x21c) == UInt32(5000))
        #expect(loaded.memory.read(at: UInt64(address), count: 5000) == bytes)

        let limited = try Loaded()
        _ = try limited.load(Fabricated.bzImage { $0.store(UInt32(0x1fff_fff), at: 0x22c) }, initrd: bytes)
        #expect(limited.integer(Self.zeroPage + 0x218) == UInt32(0x200_0000 - 8192))
    }

    @Test("an initrd for which there is no room above the kernel lies below it") func initrdBelow() throws {
        let loaded = try Loaded(size: 18 << 20)
        _ = try loaded.load(Fabricated.bzImage(), initrd: [UInt8](repeating: 1, count: 2 << 20))
        #expect(loaded.integer(Self.zeroPage + 0x218) == UInt32(14 << 20))
    }

    @Test("an ELF kernel without a PVH note gets its segments, a zero page and the ELF entry point") func elf64() throws {
        let loaded = try Loaded()
        let image = Fabricated.elf(pvh: false)
        #expect(try loaded.load(image) == .long64(address: 0x10_0010))
        #expect(loaded.memory.read(at: 0x10_0000, count: 0x1000) == Array(image[0x1000..<0x2000]))
        #expect(loaded.memory.read(at: 0x20_0000, count: 0x800) == Array(image[0x2000..<0x2800]))
        #expect(loaded.memory.read(at: 0x20_0800, count: 0x4800)?.allSatisfy { $0 == 0 } == true)
        #expect(loaded.integer(Self.zeroPage + 0x1fe) == UInt16(0xaa55))
        #expect(loaded.memory.read(at: Self.zeroPage + 0x202, count: 4) == Array("HdrS".utf8))
    }

    @Test("an ELF kernel with a PVH note gets hvm_start_info (Xen's start_info.h)") func pvh() throws {
        let loaded = try Loaded()
        #expect(try loaded.load(Fabricated.elf(pvh: true), initrd: [1, 2, 3], commandLine: "x") == .pvh32(address: 0x10_0040))
        let info = AddressMap.pvhStartInfo.lowerBound
        #expect(loaded.integer(info) == UInt32(0x336e_c578))
        #expect(loaded.integer(info + 4) == UInt32(1))
        #expect(loaded.integer(info + 12) == UInt32(1))
        let modules: UInt64 = try #require(loaded.integer(info + 16))
        let initrd: UInt64 = try #require(loaded.integer(modules))
        #expect(loaded.integer(modules + 8) == UInt64(3))
        #expect(loaded.memory.read(at: initrd, count: 3) == [1, 2, 3])
        let commandLine: UInt64 = try #require(loaded.integer(info + 24))
        #expect(loaded.memory.read(at: commandLine, count: 2) == Array("x\0".utf8))
        #expect(loaded.integer(info + 32) == UInt64(0xe0000))
        let map: UInt64 = try #require(loaded.integer(info + 40))
        #expect(loaded.integer(info + 48) == UInt32(loaded.map.memoryMap.count))
        for (index, entry) in loaded.map.memoryMap.enumerated() {
            let base = map + UInt64(index) * 24
            #expect(loaded.integer(base) == entry.range.lowerBound)
            #expect(loaded.integer(base + 8) == entry.size)
            #expect(loaded.integer(base + 16) == entry.kind.rawValue)
        }
    }

    @Test("a command line may be as long as the kernel says, and no longer") func commandLineLimit() throws {
        let image = Fabricated.bzImage { $0.store(UInt32(100), at: 0x238) }
        _ = try Loaded().load(image, commandLine: String(repeating: "x", count: 100))
        #expect(throws: KernelError.commandLineTooLong(limit: 100, length: 101)) {
            try Loaded().load(image, commandLine: String(repeating: "x", count: 101))
        }
        #expect(throws: KernelError.commandLineTooLong(limit: 2047, length: 2048)) {
            try Loaded().load(Fabricated.elf(pvh: true), commandLine: String(repeating: "é", count: 1024))
        }
        #expect(throws: KernelError.commandLineHasNUL) { try Loaded().load(image, commandLine: "a\0b") }
    }

    @Test("the file's position does not matter, and stays") func position() throws {
        let descriptor = try file(Fabricated.bzImage())
        let loaded = try Loaded()
        for _ in 0..<2 {
            #expect(
                try Kernel.load(descriptor, initrd: nil, commandLine: "", rsdp: nil, map: loaded.map, into: loaded.memory)
                    == .long64(address: 0x100_0200))
        }
    }
}

/// Debian's kernels, when `Tests/Lab/guest kernel …` has fetched them.
@Suite("Debian's kernels") struct RealKernelTests {
    static var kernels: [String] {
        let cache = environmentVariable("XDG_CACHE_HOME") ?? (environmentVariable("HOME") ?? "") + "/.cache"
        return ["6.1-cloud/vmlinuz", "6.12/vmlinuz", "6.1-cloud-elf", "6.12-elf"].map { "\(cache)/swvmm/kernels/\($0)" }.filter(pathExists)
    }

    @Test("they load", arguments: kernels) func load(path: String) throws {
        let kernel = try OwnedDescriptor.open(path, flags: 0)
        let loaded = try Loaded(size: 512 << 20)
        let entry = try Kernel.load(kernel, initrd: nil, commandLine: "quiet", rsdp: nil, map: loaded.map, into: loaded.memory)
        switch entry {
        case .long64(let address):
            #expect(address == 0x100_0200)
            #expect(!path.hasSuffix("elf"))
        case .pvh32(let address):
            #expect(address >= 0x100_0000)
            #expect(path.hasSuffix("elf"))
        }
    }
}
