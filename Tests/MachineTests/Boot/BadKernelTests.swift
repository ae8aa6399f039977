import GuestMemory
import Host
import TestSupport
import Testing

@testable import Machine

@Suite("Kernels that cannot be started") struct BadKernelTests {
    /// The sentence for a kernel file.
    private func complaint(_ kernel: [UInt8], initrd: [UInt8]? = nil, size: UInt64 = Fabricated.memorySize) throws -> String {
        do {
            _ = try Loaded(size: size).load(kernel, initrd: initrd)
            return "loaded"
        } catch let error as KernelError { return "\(error.subject.rawValue): \(error)" }
    }

    @Test("other kinds of files are named")
    func otherFiles() throws {
        let expectation = "kernel: expected a bzImage or an ELF vmlinux for x86-64, found "
        func padded(_ start: [UInt8]) -> [UInt8] { start + [UInt8](repeating: 1, count: 1000) }
        var arm = ByteImage(padded([]))
        for (index, byte) in "ARMd".utf8.enumerated() { arm.bytes[0x38 + index] = byte }
        #expect(try complaint(arm.bytes) == "kernel: expected a kernel for x86-64, found one for AArch64")
        #expect(try complaint(padded([0x1f, 0x8b])) == expectation + "a gzip-compressed file (decompress it first)")
        #expect(try complaint(padded(Array("MZ".utf8))) == expectation + "an EFI application without a Linux setup header")
        #expect(try complaint(padded(Array("070701".utf8))) == expectation + "a cpio archive, such as an initramfs")
        #expect(try complaint(padded(Array("hello".utf8))) == expectation + "something else")
        #expect(try complaint([UInt8](repeating: 0, count: 4096)) == expectation + "zeros")
        #expect(try complaint([0x7f]) == expectation + "something else")
        #expect(try complaint([]) == "kernel: expected a kernel, found an empty file")
        #expect(try complaint(Fabricated.bzImage(), initrd: []) == "initrd: expected an initrd, found an empty file")
    }

    @Test("directories cannot be read") func directory() throws {
        let directory = try OwnedDescriptor.open("/", flags: 0)
        let loaded = try Loaded()
        #expect(throws: KernelError.unreadable(.kernel, SystemError("pread", Errno(rawValue: 21)))) {
            try Kernel.load(directory, initrd: nil, commandLine: "", rsdp: nil, map: loaded.map, into: loaded.memory)
        }
    }

    @Test("bzImages that lack something") func bzImage() throws {
        func with(_ change: (inout ByteImage) -> Void) throws -> String { try complaint(Fabricated.bzImage(change)) }
        #expect(try with { $0.store(UInt16(0x020b), at: 0x206) } == "kernel: expected boot protocol 2.12 or newer, found 2.11")
        #expect(
            try with { $0.store(UInt16(0x3e), at: 0x236) }
                == "kernel: expected a bzImage with a 64-bit entry point, found one for 32-bit processors")
        #expect(try with { $0.store(UInt16(0), at: 0x1fe) } == "kernel: expected boot_flag 0xaa55 in the kernel's setup header, found 0x0")
        #expect(try with { $0.store(UInt32(3), at: 0x230) } == "kernel: expected a power of two as kernel_alignment, found 0x3")
        #expect(try with { $0.store(UInt32(0), at: 0x1f4) } == "kernel: expected a kernel behind the setup code, found a size of 0 bytes")
        #expect(
            try with { $0.store(UInt32.max, at: 0x1f4) }
                == "kernel: expected at least 68719479280 bytes, found only 10752: the file is truncated")
        #expect(
            try with {
                $0.store(UInt64.max, at: 0x258)
                $0.store(UInt8(0), at: 0x234)
            } == "kernel: expected a preferred address between 1 MiB and 3 GiB, found 0xffffffffffffffff")
        #expect(
            try with { $0.store(UInt32(0x800_0000), at: 0x260) }
                == "memory: expected more memory for this kernel, which needs RAM up to 144 MiB, found 64 MiB")
    }

    @Test("an initrd without room is refused") func initrd() throws {
        let large = [UInt8](repeating: 0, count: 20 << 20)
        #expect(
            try complaint(Fabricated.bzImage(), initrd: large, size: 18 << 20)
                == "initrd: expected at most 15728640 bytes, which is the room in guest memory beside the kernel, found 20971520")
    }

    @Test("ELF files that are no kernels for this machine") func elf() throws {
        func with(_ change: (inout ByteImage) -> Void) throws -> String { try complaint(Fabricated.elf(pvh: true, change)) }
        #expect(try with { $0.store(UInt16(183), at: 0x12) } == "kernel: expected a kernel for x86-64, found one for AArch64")
        #expect(
            try with {
                $0.bytes[4] = 1
                $0.store(UInt16(3), at: 0x12)
            } == "kernel: expected a kernel for x86-64, found one for 32-bit x86")
        #expect(try with { $0.bytes[5] = 2 } == "kernel: expected a kernel for x86-64, found one for a big-endian processor")
        #expect(
            try with { $0.store(UInt16(1), at: 0x10) }
                == "kernel: expected a bzImage or an ELF vmlinux for x86-64, found an ELF object file")
        #expect(try with { $0.store(UInt16(0), at: 0x38) } == "kernel: expected 1 to 256 program headers of 56 bytes, found 0 of 56")
        #expect(
            try with { $0.store(UInt64.max, at: 0x20) }
                == "kernel: expected at least 18446744073709551615 bytes, found only 12288: the file is truncated")
        // Segment 0: its place, its sizes, its offset.
        #expect(
            try with { $0.store(UInt64(0x8000), at: 64 + 24) }
                == "kernel: expected segments at physical addresses from 1 MiB on, found one at 0x8000")
        #expect(
            try with { $0.store(UInt64(0x20_1000), at: 64 + 24) }
                == "kernel: expected segments that do not overlap, found one at 0x201000 inside another")
        #expect(
            try with { $0.store(UInt64(0x800), at: 64 + 40) }
                == "kernel: expected segments that are not larger in the file than in memory, found 4096 bytes for 2048")
        #expect(
            try with { $0.store(UInt64.max - 5, at: 64 + 8) }
                == "kernel: expected at least 18446744073709551615 bytes, found only 12288: the file is truncated")
        #expect(
            try with { $0.store(UInt64.max, at: 64 + 40) }
                == "kernel: expected segments below 3 GiB, found one at 0x100000 of 18446744073709551615 bytes")
        #expect(
            try with { $0.store(UInt64(128 << 20), at: 64 + 56 + 40) }
                == "memory: expected more memory for this kernel, which needs RAM up to 130 MiB, found 64 MiB")
        #expect(
            try with { $0.store(UInt32(0x30_0000), at: 0x428) }
                == "kernel: expected an entry point inside a loaded segment, found 0x300000")
        #expect(
            try with {
                $0.store(UInt32(6), at: 64)
                $0.store(UInt32(6), at: 64 + 56)
            } == "kernel: expected an ELF file with segments to load, found one without")
    }

    @Test("a file may end anywhere") func truncation() throws {
        // A shorter file is refused at every length; only the padding behind an ELF kernel's last segment may be missing.
        let loaded = try Loaded()
        for (image, needed) in [
            (Fabricated.bzImage(), 5 * 512 + 8192), (Fabricated.elf(pvh: true), 0x2800), (Fabricated.elf(pvh: false), 0x2800),
        ] {
            for length in 0..<needed where length < 0x500 || length % 61 == 0 || length == needed - 1 {
                #expect(throws: KernelError.self, "\(length)") { try loaded.load(Array(image[..<length])) }
            }
            _ = try loaded.load(Array(image[..<needed]))
        }
    }

    @Test("flipped bits never crash, and never load a kernel outside RAM", arguments: UInt64(1)...4) func bitFlips(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let loaded = try Loaded()
        let images = [Fabricated.bzImage(), Fabricated.elf(pvh: true), Fabricated.elf(pvh: false)]
        for _ in 0..<1500 {
            var image = images[Int.random(in: 0..<images.count, using: &random)]
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                // Mostly where the headers are.
                let offset = Int.random(in: 0..<(Bool.random(using: &random) ? 0x440 : image.count), using: &random)
                image[offset] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            }
            do {
                switch try loaded.load(image, initrd: [1, 2, 3]) {
                case .long64(let address), .pvh32(let address):
                    #expect(address >= AddressMap.highMemory && address < loaded.map.lowMemory.upperBound)
                }
            } catch let error as KernelError { #expect(!"\(error)".isEmpty) }
        }
    }
}
