import Hypervisor
import Testing

@testable import Machine

@Suite("CPUID policy") struct CPUIDTests {
    /// What KVM might support: all bits of the leaves that matter, under the given maker's name.
    private static func supported(amd: Bool) -> [KVMCPUIDEntry] {
        let identity: (UInt32, UInt32, UInt32) =
            amd ? (0x6874_7541, 0x444d_4163, 0x6974_6e65) : (0x756e_6547, 0x6c65_746e, 0x4965_6e69)
        let all = UInt32.max
        var entries = [
            KVMCPUIDEntry(function: 0, eax: 0x1f, ebx: identity.0, ecx: identity.1, edx: identity.2),
            KVMCPUIDEntry(function: 1, eax: 0x806ec, ebx: 0x1234_0800, ecx: all & ~(1 << 24 | 1 << 31), edx: all),
            KVMCPUIDEntry(function: 4, index: 0, flags: 1, eax: 0xfc1f_c121, ebx: 1, ecx: 63),
            KVMCPUIDEntry(function: 4, index: 3, flags: 1, eax: 0xfc1f_c163, ebx: 1, ecx: 63),
            KVMCPUIDEntry(function: 7, index: 0, flags: 1, eax: 1, ebx: all, ecx: all, edx: all),
            KVMCPUIDEntry(function: 0x4000_0001, eax: all),
        ]
        for function: UInt32 in [0xa, 0xb, 0x12, 0x14, 0x15, 0x16, 0x1f, 0x8000_0026] {
            entries.append(KVMCPUIDEntry(function: function, eax: all, ebx: all, ecx: all, edx: all))
        }
        entries += [
            KVMCPUIDEntry(function: 0x8000_0001, ecx: all, edx: all),
            KVMCPUIDEntry(function: 0x8000_0008, eax: 0x302e, ebx: 0, ecx: amd ? 0x703f : 0),
            KVMCPUIDEntry(function: 0x8000_000a, eax: all, edx: all),
            KVMCPUIDEntry(function: 0x8000_001d, index: 3, flags: 1, eax: 0xfc1f_c163),
            KVMCPUIDEntry(function: 0x8000_001e, eax: 99, ebx: 99, ecx: 99),
        ]
        return entries
    }

    private func leaves(_ count: Int, apicID: UInt32, mask: [String] = [], amd: Bool = false) throws -> [[UInt32]: KVMCPUIDEntry] {
        let policy = try CPUIDPolicy(supported: Self.supported(amd: amd), cpuCount: count, mask: mask, hasTSCDeadlineTimer: true)
        let entries = policy.entries(apicID: apicID)
        let keyed = entries.map { ([$0.function, $0.index], $0) }
        #expect(Set(keyed.map(\.0)).count == keyed.count, "a leaf comes once")
        return Dictionary(uniqueKeysWithValues: keyed)
    }

    @Test("leaf 1: the processor's own APIC id, a hypervisor, x2APIC and the deadline timer, no VMX") func identity() throws {
        let one = try #require(try leaves(4, apicID: 3)[[1, 0]])
        #expect(one.ebx >> 24 == 3)
        #expect(one.ebx >> 16 & 0xff == 4)
        #expect(one.ebx & 0xffff == 0x0800)
        #expect(one.ecx & 1 << 31 != 0 && one.ecx & 1 << 24 != 0 && one.ecx & 1 << 21 != 0)
        #expect(one.ecx & 1 << 5 == 0)
        #expect(one.edx & 1 << 28 != 0)
        #expect(try #require(try leaves(1, apicID: 0)[[1, 0]]).edx & 1 << 28 == 0)
        let without = try CPUIDPolicy(supported: Self.supported(amd: false), cpuCount: 1, mask: [], hasTSCDeadlineTimer: false)
        #expect(without.entries(apicID: 0).first { $0.function == 1 }.map { $0.ecx & 1 << 24 } == 0)
    }

    @Test(
        "leaves 0xb and 0x1f: one thread per core, all cores in one package", arguments: [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (255, 8)])
    func topology(count: Int, bits: UInt32) throws {
        for function: UInt32 in [0xb, 0x1f] {
            let all = try leaves(count, apicID: UInt32(count - 1))
            let threads = try #require(all[[function, 0]])
            #expect((threads.eax, threads.ebx, threads.ecx, threads.edx) == (0, 1, 0x100, UInt32(count - 1)))
            let cores = try #require(all[[function, 1]])
            #expect((cores.eax, cores.ebx, cores.ecx, cores.edx) == (bits, UInt32(count), 0x201, UInt32(count - 1)))
            let end = try #require(all[[function, 2]])
            #expect((end.eax, end.ebx, end.ecx) == (0, 0, 2))
            #expect(threads.flags == KVMCPUIDEntry.significantIndex)
        }
    }

    @Test("leaf 4: private first-level and shared third-level caches") func caches() throws {
        let all = try leaves(4, apicID: 0)
        let first = try #require(all[[4, 0]]).eax
        #expect(first >> 14 & 0xfff == 0 && first >> 26 == 3 && first & 0x3fff == 0x0121)
        #expect(try #require(all[[4, 3]]).eax >> 14 & 0xfff == 3)
    }

    @Test("AMD: topology in 0x8000_0008 and 0x8000_001e, no SVM") func amd() throws {
        let all = try leaves(3, apicID: 2, amd: true)
        #expect(try #require(all[[0x8000_0008, 0]]).ecx == 0x2002)
        #expect(try #require(all[[0x8000_001e, 0]]).eax == 2)
        #expect(try #require(all[[0x8000_0001, 0]]).ecx & 0b110 == 0b010)
        #expect(try #require(all[[0x8000_000a, 0]]).eax == 0)
        #expect(try #require(all[[0x8000_001d, 3]]).eax >> 14 & 0xfff == 2)
        #expect(try #require(try leaves(3, apicID: 2)[[0x8000_0008, 0]]).ecx == 0, "reserved on Intel")
    }

    @Test("leaves about the host stay away") func hostOnly() throws {
        let all = try leaves(2, apicID: 0)
        for function: UInt32 in [0x12, 0x14, 0x15, 0x16, 0x8000_0026] { #expect(all[[function, 0]] == nil, "\(function)") }
        #expect(all[[0xa, 0]]?.eax == 0)
        #expect(try #require(all[[0x4000_0001, 0]]).eax & (1 << 15 | 1 << 17) == 0)
        #expect(try #require(all[[0x4000_0001, 0]]).eax & (1 << 3 | 1 << 24) == 1 << 3 | 1 << 24, "kvmclock")
    }

    @Test("a masked feature is gone from its leaf, and only it") func mask() throws {
        let all = try leaves(1, apicID: 0)
        let masked = try leaves(1, apicID: 0, mask: ["avx2", "aes", "nx", "sse2"])
        #expect(try #require(masked[[7, 0]]).ebx == #require(all[[7, 0]]).ebx & ~(1 << 5))
        #expect(try #require(masked[[1, 0]]).ecx == #require(all[[1, 0]]).ecx & ~(1 << 25))
        #expect(try #require(masked[[1, 0]]).edx == #require(all[[1, 0]]).edx & ~(1 << 26))
        #expect(try #require(masked[[0x8000_0001, 0]]).edx == #require(all[[0x8000_0001, 0]]).edx & ~(1 << 20))
    }

    @Test("an unknown feature is named") func unknown() {
        for name in ["warp_drive", "", "-", "AVX2"] {
            #expect(throws: CPUIDPolicy.UnknownFeature(name: name), "\(name)") {
                try CPUIDPolicy(supported: [], cpuCount: 1, mask: [name], hasTSCDeadlineTimer: true)
            }
        }
    }

    /// Bits from Linux's asm/cpufeatures.h, at both ends of each word of the table.
    @Test(
        "names stand for the bits that Linux gives them",
        arguments: [
            ("fpu", 0x1, 0, 0), ("mtrr", 0x1, 0, 12), ("mmx", 0x1, 0, 23), ("pbe", 0x1, 0, 31), ("pni", 0x1, 0, 0), ("vmx", 0x1, 0, 5),
            ("pcid", 0x1, 0, 17), ("sse4_1", 0x1, 0, 19), ("x2apic", 0x1, 0, 21), ("tsc_deadline_timer", 0x1, 0, 24),
            ("xsave", 0x1, 0, 26), ("avx", 0x1, 0, 28), ("rdrand", 0x1, 0, 30), ("hypervisor", 0x1, 0, 31),
            ("fsgsbase", 0x7, 0, 0), ("smep", 0x7, 0, 7), ("invpcid", 0x7, 0, 10), ("mpx", 0x7, 0, 14), ("avx512f", 0x7, 0, 16),
            ("smap", 0x7, 0, 20), ("clflushopt", 0x7, 0, 23), ("sha_ni", 0x7, 0, 29), ("avx512vl", 0x7, 0, 31),
            ("umip", 0x7, 0, 2), ("pku", 0x7, 0, 3), ("gfni", 0x7, 0, 8), ("la57", 0x7, 0, 16), ("rdpid", 0x7, 0, 22),
            ("movdiri", 0x7, 0, 27), ("enqcmd", 0x7, 0, 29), ("fsrm", 0x7, 0, 4), ("md_clear", 0x7, 0, 10), ("serialize", 0x7, 0, 14),
            ("amx_tile", 0x7, 0, 24), ("flush_l1d", 0x7, 0, 28), ("arch_capabilities", 0x7, 0, 29), ("avx_vnni", 0x7, 1, 4),
            ("fzrm", 0x7, 1, 10), ("amx_fp16", 0x7, 1, 21), ("avx_ifma", 0x7, 1, 23), ("lam", 0x7, 1, 26),
            ("syscall", 0x8000_0001, 0, 11), ("nx", 0x8000_0001, 0, 20), ("fxsr_opt", 0x8000_0001, 0, 25),
            ("pdpe1gb", 0x8000_0001, 0, 26), ("rdtscp", 0x8000_0001, 0, 27), ("lm", 0x8000_0001, 0, 29), ("3dnow", 0x8000_0001, 0, 31),
            ("lahf_lm", 0x8000_0001, 0, 0), ("svm", 0x8000_0001, 0, 2), ("sse4a", 0x8000_0001, 0, 6), ("osvw", 0x8000_0001, 0, 9),
            ("fma4", 0x8000_0001, 0, 16), ("topoext", 0x8000_0001, 0, 22), ("perfctr_core", 0x8000_0001, 0, 23),
            ("mwaitx", 0x8000_0001, 0, 29), ("xsaves", 0xd, 1, 3), ("clzero", 0x8000_0008, 0, 0), ("wbnoinvd", 0x8000_0008, 0, 9),
            ("ibpb", 0x8000_0008, 0, 12), ("ibrs", 0x8000_0008, 0, 14), ("stibp", 0x8000_0008, 0, 15),
        ] as [(String, UInt32, UInt32, UInt32)])
    func names(name: String, function: UInt32, index: UInt32, bit: UInt32) throws {
        let feature = try #require(CPUFeatureName(name))
        #expect((feature.function, feature.index, feature.bit) == (function, index, bit))
    }

    @Test("the width of physical addresses comes from leaf 0x8000_0008") func addressBits() throws {
        #expect(
            try CPUIDPolicy(supported: Self.supported(amd: true), cpuCount: 1, mask: [], hasTSCDeadlineTimer: true).physicalAddressBits
                == 46)
        #expect(try CPUIDPolicy(supported: [], cpuCount: 1, mask: [], hasTSCDeadlineTimer: true).physicalAddressBits == 36)
    }
}
