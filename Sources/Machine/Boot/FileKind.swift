/// What a file that is no kernel for this machine is, so that the error can say it.
enum FileKind {
    private static let magics: [(offset: Int, magic: [UInt8], name: String)] = [
        (0, [0x1f, 0x8b], "a gzip-compressed file (decompress it first)"),
        (0, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], "an xz-compressed file (decompress it first)"),
        (0, [0x28, 0xb5, 0x2f, 0xfd], "a zstd-compressed file (decompress it first)"),
        (0, [0x02, 0x21, 0x4c, 0x18], "an lz4-compressed file (decompress it first)"),
        (0, [0x04, 0x22, 0x4d, 0x18], "an lz4-compressed file (decompress it first)"),
        (0, [0x42, 0x5a, 0x68], "a bzip2-compressed file (decompress it first)"),
        (0, [0x5d, 0x00, 0x00], "an lzma-compressed file (decompress it first)"),
        (0, Array("07070".utf8), "a cpio archive, such as an initramfs"),
        (0, Array("#!".utf8), "a script"),
        (0, Array("QFI".utf8) + [0xfb], "a qcow2 disk image"),
        (0, Array("{".utf8), "JSON text"),
        (0, [0x27, 0x05, 0x19, 0x56], "a U-Boot image"),
        (0x101, Array("ustar".utf8), "a tar archive"),
        (0, Array("!<arch>".utf8), "an ar archive, such as a Debian package"),
    ]

    /// The error for a file that begins with these bytes and is neither a bzImage nor ELF.
    static func error(_ start: ByteImage) -> KernelError {
        // Arm's and RISC-V's Image formats carry their magic number at 0x38, with or without an EFI stub.
        if start.has("ARM\u{64}", at: 0x38) { return .foreign(found: "AArch64") }
        if start.has("RSC\u{05}", at: 0x38) { return .foreign(found: "RISC-V") }
        for (offset, magic, name) in magics where start.has(magic, at: offset) { return .notAKernel(found: name) }
        if start.has("MZ", at: 0) { return .notAKernel(found: "an EFI application without a Linux setup header") }
        if start.load(BZImage.Field.bootFlag, as: UInt16.self) == BZImage.bootFlag { return .notAKernel(found: "a boot sector") }
        if start.bytes.allSatisfy({ $0 == 0 }) { return .notAKernel(found: "zeros") }
        return .notAKernel(found: "something else")
    }
}
