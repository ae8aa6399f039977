/// An instruction that an operating system's kernel uses in ring 0, for `InstructionProbe` to try.
///
/// The bytes may begin with set-up (a register, a stack). When they start, RDI points to 64 aligned bytes of scratch memory and RSI to
/// others, both zero, RAX is 3, RBX 1, RCX 8 and RDX 0.
public struct ProbedInstruction: Sendable, Hashable {
    /// How assembler writes it.
    public let name: String
    /// The machine code.
    public let bytes: [UInt8]
    /// The exception that it must raise; nil when it must raise none.
    public let exception: UInt8?
    /// The feature by which CPUID announces it, and without which kernels do not use it; nil when all processors have it.
    let feature: CPUIDFeature?

    init(_ name: String, _ bytes: [UInt8], raises exception: UInt8? = nil, if feature: CPUIDFeature? = nil) {
        self.name = name
        self.bytes = bytes
        self.exception = exception
        self.feature = feature
    }

    /// What is tried, grouped by what a kernel needs it for.
    public static let all: [ProbedInstruction] = locking + memory + vector + system + exceptions + timing

    private static let locking = [
        ProbedInstruction("lock cmpxchg", [0xf0, 0x48, 0x0f, 0xb1, 0x1f]),
        ProbedInstruction("lock cmpxchg16b", [0xf0, 0x48, 0x0f, 0xc7, 0x0f], if: .cx16),
        ProbedInstruction("lock xadd", [0xf0, 0x48, 0x0f, 0xc1, 0x1f]),
        ProbedInstruction("lock bts", [0xf0, 0x48, 0x0f, 0xba, 0x2f, 0x05]),
        ProbedInstruction("lock incl", [0xf0, 0xff, 0x07]),
        ProbedInstruction("xchg", [0x48, 0x87, 0x1f]),
        ProbedInstruction("mfence", [0x0f, 0xae, 0xf0]),
        ProbedInstruction("lfence", [0x0f, 0xae, 0xe8]),
        ProbedInstruction("sfence", [0x0f, 0xae, 0xf8]),
        ProbedInstruction("pause", [0xf3, 0x90]),
    ]

    private static let memory = [
        ProbedInstruction("rep movsb", [0xf3, 0xa4]),
        ProbedInstruction("rep movsq", [0xf3, 0x48, 0xa5]),
        ProbedInstruction("rep stosq", [0xf3, 0x48, 0xab]),
        ProbedInstruction("repe cmpsb", [0xf3, 0xa6]),
        ProbedInstruction("movnti", [0x48, 0x0f, 0xc3, 0x1f]),
        ProbedInstruction("clflush", [0x0f, 0xae, 0x3f]),
        ProbedInstruction("prefetcht0", [0x0f, 0x18, 0x0f]),
        ProbedInstruction("bswap", [0x48, 0x0f, 0xc8]),
        ProbedInstruction("bsr", [0x48, 0x0f, 0xbd, 0xc0]),
        ProbedInstruction("cmov", [0x48, 0x0f, 0x44, 0xc3]),
        ProbedInstruction("popcnt", [0xf3, 0x48, 0x0f, 0xb8, 0xc0], if: .popcnt),
        ProbedInstruction("movbe", [0x48, 0x0f, 0x38, 0xf0, 0x07], if: .movbe),
        ProbedInstruction("stac", [0x0f, 0x01, 0xcb], if: .smap),
        ProbedInstruction("clac", [0x0f, 0x01, 0xca], if: .smap),
        ProbedInstruction("endbr64", [0xf3, 0x0f, 0x1e, 0xfa]),
    ]

    private static let vector = [
        ProbedInstruction("fninit", [0xdb, 0xe3]),
        ProbedInstruction("movups (store)", [0x0f, 0x11, 0x07]),
        ProbedInstruction("movups (load)", [0x0f, 0x10, 0x06]),
        ProbedInstruction("movaps (store)", [0x0f, 0x29, 0x07]),
        ProbedInstruction("movdqa (load)", [0x66, 0x0f, 0x6f, 0x06]),
        ProbedInstruction("pxor", [0x66, 0x0f, 0xef, 0xc0]),
        ProbedInstruction("ldmxcsr", [0xc7, 0x07, 0x80, 0x1f, 0x00, 0x00, 0x0f, 0xae, 0x17]),
        ProbedInstruction("fxsave64", [0x48, 0x0f, 0xae, 0x07]),
        ProbedInstruction("fxrstor64", [0x48, 0x0f, 0xae, 0x0e]),
        ProbedInstruction("xgetbv", [0x31, 0xc9, 0x0f, 0x01, 0xd0], if: .xsave),
        ProbedInstruction("xsetbv", [0x31, 0xc9, 0x0f, 0x01, 0xd1], if: .xsave),
        ProbedInstruction("xsave64", [0x48, 0x0f, 0xae, 0x27], if: .xsave),
        ProbedInstruction("xrstor64", [0x48, 0x0f, 0xae, 0x2e], if: .xsave),
    ]

    private static let system = [
        ProbedInstruction("cpuid", [0x0f, 0xa2]),
        ProbedInstruction("rdmsr", [0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32]),
        ProbedInstruction("wrmsr", [0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x0f, 0x30]),
        ProbedInstruction("mov cr3", [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]),
        ProbedInstruction("mov cr4", [0x0f, 0x20, 0xe0, 0x0f, 0x22, 0xe0]),
        ProbedInstruction("mov dr7", [0x0f, 0x21, 0xf8, 0x0f, 0x23, 0xf8]),
        ProbedInstruction("invlpg", [0x0f, 0x01, 0x3f]),
        ProbedInstruction("swapgs", [0x0f, 0x01, 0xf8]),
        ProbedInstruction("clts", [0x0f, 0x06]),
        ProbedInstruction("wbinvd", [0x0f, 0x09]),
        ProbedInstruction("sgdt, lgdt", [0x0f, 0x01, 0x07, 0x0f, 0x01, 0x17]),
        ProbedInstruction("sidt, lidt", [0x0f, 0x01, 0x0f, 0x0f, 0x01, 0x1f]),
        ProbedInstruction("str", [0x0f, 0x00, 0xc8]),
        ProbedInstruction("mov ss", [0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd0]),
        ProbedInstruction("sti, cli", [0xfb, 0x90, 0xfa]),
        ProbedInstruction("pushfq, popfq", [0x9c, 0x9d]),
        ProbedInstruction("rdrand", [0x48, 0x0f, 0xc7, 0xf0], if: .rdrand),
        ProbedInstruction("rdgsbase", [0xf3, 0x48, 0x0f, 0xae, 0xc8], if: .fsgsbase),
    ]

    private static let exceptions = [
        ProbedInstruction("int3", [0xcc], raises: 3),
        ProbedInstruction("ud2", [0x0f, 0x0b], raises: 6),
        ProbedInstruction("int $0x1f", [0xcd, 0x1f], raises: 0x1f),
        // mov rax, rsp; push 0x10; push rax; pushfq; push 8; lea rax, [rip + 3]; push rax; iretq
        ProbedInstruction(
            "iretq",
            [0x48, 0x89, 0xe0, 0x6a, 0x10, 0x50, 0x9c, 0x6a, 0x08, 0x48, 0x8d, 0x05, 0x03, 0x00, 0x00, 0x00, 0x50, 0x48, 0xcf]),
        // push 8; lea rax, [rip + 3]; push rax; lretq
        ProbedInstruction("lretq", [0x6a, 0x08, 0x48, 0x8d, 0x05, 0x03, 0x00, 0x00, 0x00, 0x50, 0x48, 0xcb]),
    ]

    private static let timing = [
        ProbedInstruction("rdtsc", [0x0f, 0x31]),
        ProbedInstruction("rdtscp", [0x0f, 0x01, 0xf9], if: .rdtscp),
    ]
}

/// A bit of CPUID that announces an instruction (Intel SDM volume 2, CPUID).
struct CPUIDFeature: Sendable, Hashable {
    private enum Register { case ebx, ecx, edx }

    private let function: UInt32
    private let register: Register
    private let bit: UInt32

    static let cx16 = CPUIDFeature(function: 1, register: .ecx, bit: 13)
    static let movbe = CPUIDFeature(function: 1, register: .ecx, bit: 22)
    static let popcnt = CPUIDFeature(function: 1, register: .ecx, bit: 23)
    static let xsave = CPUIDFeature(function: 1, register: .ecx, bit: 26)
    static let rdrand = CPUIDFeature(function: 1, register: .ecx, bit: 30)
    static let fsgsbase = CPUIDFeature(function: 7, register: .ebx, bit: 0)
    static let smap = CPUIDFeature(function: 7, register: .ebx, bit: 20)
    static let rdtscp = CPUIDFeature(function: 0x8000_0001, register: .edx, bit: 27)

    /// Whether these leaves announce it.
    func isAnnounced(by cpuid: [KVMCPUIDEntry]) -> Bool {
        cpuid.contains { entry in
            guard entry.function == function, entry.index == 0 else { return false }
            let value =
                switch register {
                case .ebx: entry.ebx
                case .ecx: entry.ecx
                case .edx: entry.edx
                }
            return value >> bit & 1 == 1
        }
    }
}
