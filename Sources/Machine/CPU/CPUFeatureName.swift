import Hypervisor

/// A CPU feature by its name in Linux's /proc/cpuinfo, and the CPUID bit that announces it.
struct CPUFeatureName: Sendable, Equatable {
    enum Register: Sendable { case eax, ebx, ecx, edx }

    let function: UInt32
    let index: UInt32
    let register: Register
    let bit: UInt32

    /// The feature of that name; nil when the table has none.
    init?(_ name: String) {
        guard !name.isEmpty else { return nil }
        for word in Self.words {
            guard let bit = word.names.firstIndex(of: name) else { continue }
            (function, index, register, self.bit) = (word.function, word.index, word.register, UInt32(bit))
            return
        }
        return nil
    }

    /// Clears the bit if this is the leaf that has it.
    func hide(in entry: inout KVMCPUIDEntry) {
        guard entry.function == function, entry.index == index else { return }
        let mask = ~(UInt32(1) << bit)
        switch register {
        case .eax: entry.eax &= mask
        case .ebx: entry.ebx &= mask
        case .ecx: entry.ecx &= mask
        case .edx: entry.edx &= mask
        }
    }

    /// All words of the table.
    static var allWords: [Word] { words }

    /// One register of one leaf, with the names of its bits from bit 0; "" has no name.
    struct Word: Sendable {
        let function: UInt32
        let index: UInt32
        let register: Register
        private let text: String

        init(_ function: UInt32, _ index: UInt32, _ register: Register, _ names: String) {
            self.function = function
            self.index = index
            self.register = register
            text = names
        }

        /// Made when somebody asks: hardly any VM needs a name.
        var names: [String] { text.split(separator: " ").map { $0 == "-" ? "" : String($0) } }

        /// The word's register in its leaf.
        func value(in entry: KVMCPUIDEntry) -> UInt32 {
            switch register {
            case .eax: entry.eax
            case .ebx: entry.ebx
            case .ecx: entry.ecx
            case .edx: entry.edx
            }
        }

        /// Bits that show what the guest has done, not what the processor can: OSXSAVE and OSPKE follow CR4, APIC follows IA32_APIC_BASE.
        var followsGuest: UInt32 {
            switch (function, register) {
            case (0x1, .ecx): 1 << 27
            case (0x1, .edx), (0x8000_0001, .edx): 1 << 9
            case (0x7, .ecx): 1 << 4
            default: 0
            }
        }

        /// What people call a bit (0…31).
        func name(of bit: UInt32) -> String {
            let names = names
            let name = names.indices.contains(Int(bit)) ? names[Int(bit)] : ""
            guard name.isEmpty else { return name }
            return "CPUID 0x\(String(function, radix: 16)).\(index) \(register) bit \(bit)"
        }
    }

    private static let words = [
        Word(
            0x1, 0, .edx,
            """
            fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr \
            sse sse2 ss ht tm ia64 pbe
            """),
        Word(
            0x1, 0, .ecx,
            """
            pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 \
            sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor
            """),
        Word(
            0x7, 0, .ebx,
            """
            fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq \
            rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl
            """),
        Word(
            0x7, 0, .ecx,
            """
            prefetchwt1 avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes vpclmulqdq avx512_vnni \
            avx512_bitalg tme avx512_vpopcntdq - la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b \
            enqcmd sgx_lc -
            """),
        Word(
            0x7, 0, .edx,
            """
            - - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize - tsxldtrk - \
            pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 - - flush_l1d arch_capabilities - -
            """),
        Word(
            0x7, 1, .eax,
            """
            - - - - avx_vnni avx512_bf16 - cmpccxadd - - fzrm fsrs fsrc - - - - - - - - amx_fp16 - avx_ifma - - lam - \
            - - - -
            """),
        Word(
            0x8000_0001, 0, .edx,
            """
            - - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext \
            3dnow
            """),
        Word(
            0x8000_0001, 0, .ecx,
            """
            lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - \
            lwp fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx - -
            """),
        Word(
            0xd, 1, .eax,
            """
            xsaveopt xsavec xgetbv1 xsaves xfd
            """),
        Word(
            0x8000_0008, 0, .ebx,
            """
            clzero irperf xsaveerptr - rdpru - - - - wbnoinvd - - ibpb - ibrs stibp
            """),
        Word(
            0x8000_0007, 0, .edx,
            """
            - - - - - - - - nonstop_tsc
            """),
    ]
}
