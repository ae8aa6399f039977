/// Names for instructions that KVM's emulator is known not to have, so that a person learns more than bytes.
///
/// Not a disassembler: it looks through the prefixes at the opcode, and knows the families that an operating system's kernel uses.
enum InstructionName {
    /// The mnemonic of the first instruction in `bytes`; nil when it is none of those.
    static func of(_ bytes: [UInt8]) -> String? {
        var index = 0
        var operandSize = false
        var repeated: UInt8 = 0
        var wide = false
        scan: while index < bytes.count {
            switch bytes[index] {
            case 0x66: operandSize = true
            case 0xf2, 0xf3: repeated = bytes[index]
            case 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67, 0xf0: break
            default: break scan
            }
            index += 1
        }
        if index < bytes.count, bytes[index] & 0xf0 == 0x40 {
            wide = bytes[index] & 8 != 0
            index += 1
        }
        guard index < bytes.count else { return nil }
        let next: UInt8? = index + 1 < bytes.count ? bytes[index + 1] : nil
        let modRM: UInt8? = index + 2 < bytes.count ? bytes[index + 2] : nil
        switch bytes[index] {
        case 0xcc: return "int3"
        case 0xcd: return "int"
        case 0xcf: return wide ? "iretq" : "iret"
        case 0xcb: return wide ? "lretq" : "lret"
        case 0xc4, 0xc5: return "of the AVX family"
        case 0x62: return "of the AVX-512 family"
        case 0xd8...0xdf: return bytes[index] == 0xdb && next == 0xe3 ? "fninit" : "of the x87 family"
        case 0x0f: return next.flatMap { twoByte($0, modRM, operandSize, repeated, wide) }
        default: return nil
        }
    }

    private static func twoByte(_ opcode: UInt8, _ modRM: UInt8?, _ operandSize: Bool, _ repeated: UInt8, _ wide: Bool) -> String? {
        let extended = modRM.map { ($0 >> 3) & 7 }
        let isRegister = modRM.map { $0 >= 0xc0 } ?? false
        switch opcode {
        case 0x01: return group7(modRM)
        case 0x05: return "syscall"
        case 0x07: return "sysret"
        case 0x0b: return "ud2"
        case 0x10, 0x11: return operandSize ? "movupd" : repeated == 0xf3 ? "movss" : repeated == 0xf2 ? "movsd" : "movups"
        case 0x28, 0x29: return operandSize ? "movapd" : "movaps"
        case 0x38, 0x3a: return operandSize || repeated == 0 && !isMovbe(modRM) ? "of the SSE family" : nil
        case 0x6f, 0x7f: return operandSize ? "movdqa" : repeated == 0xf3 ? "movdqu" : "movq"
        case 0x57: return operandSize ? "xorpd" : "xorps"
        case 0xef: return "pxor"
        case 0xae: return group15(extended, isRegister, repeated, wide)
        case 0xc7:
            switch extended {
            case 1: return wide ? "cmpxchg16b" : "cmpxchg8b"
            case 3: return wide ? "xrstors64" : "xrstors"
            case 4: return wide ? "xsavec64" : "xsavec"
            case 5: return wide ? "xsaves64" : "xsaves"
            case 6: return isRegister ? "rdrand" : nil
            case 7: return isRegister ? (repeated == 0xf3 ? "rdpid" : "rdseed") : nil
            default: return nil
            }
        case 0x50...0x7f, 0xc2, 0xc6, 0xd0...0xfe: return "of the SSE family"
        default: return nil
        }
    }

    private static func isMovbe(_ modRM: UInt8?) -> Bool { modRM == 0xf0 || modRM == 0xf1 }

    private static func group7(_ modRM: UInt8?) -> String? {
        switch modRM {
        case 0xca: "clac"
        case 0xcb: "stac"
        case 0xd0: "xgetbv"
        case 0xd1: "xsetbv"
        case 0xf8: "swapgs"
        case 0xf9: "rdtscp"
        default: nil
        }
    }

    private static func group15(_ extended: UInt8?, _ isRegister: Bool, _ repeated: UInt8, _ wide: Bool) -> String? {
        let suffix = wide ? "64" : ""
        if isRegister {
            if repeated == 0xf3 { return ["rdfsbase", "rdgsbase", "wrfsbase", "wrgsbase"][Int((extended ?? 0) & 3)] }
            return extended == 5 ? "lfence" : extended == 6 ? "mfence" : extended == 7 ? "sfence" : nil
        }
        switch extended {
        case 0: return "fxsave" + suffix
        case 1: return "fxrstor" + suffix
        case 2: return "ldmxcsr"
        case 3: return "stmxcsr"
        case 4: return "xsave" + suffix
        case 5: return "xrstor" + suffix
        case 6: return "xsaveopt" + suffix
        case 7: return "clflush"
        default: return nil
        }
    }
}
