public import Hypervisor

/// What the guest sees of its processors: KVM's offer, with topology and identity of our machine, less what was asked to be hidden.
public struct CPUIDPolicy: Sendable {
    private let supported: [KVMCPUIDEntry]
    private let cpuCount: Int
    private let hidden: [CPUFeatureName]

    /// A feature name in the mask that no processor has.
    public struct UnknownFeature: Error, Sendable, Equatable, CustomStringConvertible {
        /// The name.
        public let name: String
        /// One sentence.
        public var description: String { "\"\(name)\" is not a CPU feature that swvmm knows (names are as in /proc/cpuinfo)." }
    }

    /// A policy for `cpuCount` (1…255) processors from what KVM supports (KVM_GET_SUPPORTED_CPUID).
    public init(
        supported: [KVMCPUIDEntry], cpuCount: Int, mask: [String], hasTSCDeadlineTimer: Bool
    ) throws(UnknownFeature) {
        var hidden: [CPUFeatureName] = []
        for name in mask {
            guard let feature = CPUFeatureName(name) else { throw UnknownFeature(name: name) }
            hidden.append(feature)
        }
        self.hidden = hidden
        self.cpuCount = cpuCount
        self.supported = supported.map { entry in
            var entry = entry
            // KVM's local APIC has the timer; KVM leaves it to us to say so.
            if entry.function == 1, hasTSCDeadlineTimer { entry.ecx |= 1 << 24 }
            return entry
        }
    }

    /// The width of guest-physical addresses in bits (leaf 0x8000_0008).
    public var physicalAddressBits: Int { Self.physicalAddressBits(of: supported) }

    /// The same, as some entries say.
    public static func physicalAddressBits(of entries: [KVMCPUIDEntry]) -> Int {
        entries.first { $0.function == 0x8000_0008 }.map { Int($0.eax & 0xff) } ?? 36
    }

    /// The leaves of the processor with this APIC id (0 ..< cpuCount).
    public func entries(apicID: UInt32) -> [KVMCPUIDEntry] {
        var entries = complete(apicID)
        for feature in hidden {
            for index in entries.indices { feature.hide(in: &entries[index]) }
        }
        return entries
    }

    /// What a guest could see that nothing is hidden from.
    var unmasked: [KVMCPUIDEntry] { complete(0) }

    private func complete(_ apicID: UInt32) -> [KVMCPUIDEntry] {
        let highest = supported.first { $0.function == 0 }?.eax ?? 0
        var entries: [KVMCPUIDEntry] = []
        for entry in supported where !Self.omitted.contains(entry.function) {
            entries.append(adapted(entry, apicID))
        }
        if highest >= 0xb { entries += topology(0xb, apicID) }
        if highest >= 0x1f { entries += topology(0x1f, apicID) }
        return entries
    }

    /// Leaves that describe the host and not our machine, or that are made anew: extended topology (0xb, 0x1f, 0x8000_0026), SGX (0x12) and
    /// processor trace (0x14), whose memory and registers we do not manage, crystal and core frequencies (0x15, 0x16), to which KVM's
    /// APIC timer does not keep, encrypted memory (0x8000_001f) and performance counters (0x8000_0022).
    private static let omitted: Set<UInt32> = [0xb, 0x12, 0x14, 0x15, 0x16, 0x1f, 0x8000_001f, 0x8000_0022, 0x8000_0026]

    /// Whether the processor's maker is AMD or Hygon, who define bits where Intel reserves them.
    private var isAMD: Bool {
        guard let identity = supported.first(where: { $0.function == 0 }) else { return false }
        // "Auth"enticAMD, "Hygo"nGenuine.
        return identity.ebx == 0x6874_7541 || identity.ebx == 0x6f67_7948
    }

    /// Bits that number the processors of a package.
    private var coreBits: UInt32 { cpuCount <= 1 ? 0 : UInt32(Int.bitWidth - (cpuCount - 1).leadingZeroBitCount) }

    private func adapted(_ original: KVMCPUIDEntry, _ apicID: UInt32) -> KVMCPUIDEntry {
        var entry = original
        let count = UInt32(cpuCount)
        switch entry.function {
        case 1:
            entry.ebx = entry.ebx & 0xffff | min(1 << coreBits, 255) << 16 | apicID << 24
            entry.ecx |= 1 << 31 | 1 << 21  // a hypervisor, x2APIC
            entry.ecx &= ~(1 << 5 | 1 << 15)  // no VMX: guests are not nested; no PDCM: see leaf 0xa
            entry.edx = cpuCount > 1 ? entry.edx | 1 << 28 : entry.edx & ~(1 << 28)
        case 4:
            // Bits 31:26 cores per package, 25:14 processors that share the cache: all of them the third level, each its own below.
            guard entry.eax & 0x1f != 0 else { break }
            let level = entry.eax >> 5 & 7
            let sharing = level >= 3 ? (1 << coreBits) - 1 : 0
            entry.eax = entry.eax & 0x3fff | UInt32(sharing) << 14 | min((1 << coreBits) - 1, 63) << 26
        case 7 where entry.index == 0:
            entry.ebx &= ~(1 << 2 | 1 << 25)  // SGX, processor trace: see `omitted`
            entry.ecx &= ~(1 << 30)  // SGX launch configuration
        case 0xa:
            // No virtual performance counters: they would differ from host to host.
            (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0)
        case 0x4000_0001:
            // Destination ids above 255 and live-migration control need help that this machine does not give.
            entry.eax &= ~(1 << 15 | 1 << 17)
        case 0x8000_0001:
            entry.ecx &= ~(1 << 2 | 1 << 23)  // SVM, performance counters
            // CMP_LEGACY: these are cores, not threads.
            if isAMD { entry.ecx = cpuCount > 1 ? entry.ecx | 1 << 1 : entry.ecx & ~(1 << 1) }
        case 0x8000_0008:
            if isAMD { entry.ecx = entry.ecx & ~0xf0ff | (count - 1) & 0xff | coreBits << 12 }
        case 0x8000_000a:
            (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0)
        case 0x8000_001d:
            guard entry.eax & 0x1f != 0 else { break }
            let sharing = entry.eax >> 5 & 7 >= 3 ? count - 1 : 0
            entry.eax = entry.eax & 0x3fff | sharing << 14
        case 0x8000_001e:
            (entry.eax, entry.ebx, entry.ecx) = (apicID, apicID & 0xff, 0)
        default: break
        }
        return entry
    }

    /// Extended topology: one thread per core, all cores in one package.
    private func topology(_ function: UInt32, _ apicID: UInt32) -> [KVMCPUIDEntry] {
        func level(_ index: UInt32, shift: UInt32, processors: UInt32, type: UInt32) -> KVMCPUIDEntry {
            KVMCPUIDEntry(
                function: function, index: index, flags: KVMCPUIDEntry.significantIndex, eax: shift, ebx: processors,
                ecx: type << 8 | index,
                edx: apicID)
        }
        return [
            level(0, shift: 0, processors: 1, type: 1), level(1, shift: coreBits, processors: UInt32(cpuCount), type: 2),
            level(2, shift: 0, processors: 0, type: 0),
        ]
    }
}
