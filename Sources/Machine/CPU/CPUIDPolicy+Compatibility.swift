public import Hypervisor

extension CPUIDPolicy {
    /// Features that a guest has seen on another host and that this one cannot give it, by their names in Linux's /proc/cpuinfo or their
    /// place in CPUID. A guest that was told of them may use them at any time: it cannot go on here.
    public func missingFeatures(of seen: [KVMCPUIDEntry]) -> [String] {
        let own = unmasked
        var missing: [String] = []
        func entry(_ function: UInt32, _ index: UInt32, in entries: [KVMCPUIDEntry]) -> KVMCPUIDEntry {
            entries.first { $0.function == function && $0.index == index } ?? KVMCPUIDEntry(function: function, index: index)
        }
        for word in CPUFeatureName.allWords {
            let wanted = word.value(in: entry(word.function, word.index, in: seen)) & ~word.followsGuest
            let lacking = wanted & ~word.value(in: entry(word.function, word.index, in: own))
            for bit in 0..<UInt32(32) where lacking & 1 << bit != 0 { missing.append(word.name(of: bit)) }
        }
        // The parts of the state that XSAVE keeps (leaf 0xd): where they lie is the same on all processors that have them.
        let parts = entry(0xd, 0, in: seen)
        let ownParts = entry(0xd, 0, in: own)
        if parts.eax & ~ownParts.eax != 0 || parts.edx & ~ownParts.edx != 0 {
            missing.append("XSAVE components 0x\(String(UInt64(parts.edx) << 32 | UInt64(parts.eax), radix: 16))")
        }
        return missing
    }

    /// The maker of the processor that a guest has seen, such as `AuthenticAMD`; empty when it has seen none.
    public static func vendor(of entries: [KVMCPUIDEntry]) -> String {
        guard let identity = entries.first(where: { $0.function == 0 }) else { return "" }
        var text = ""
        for register in [identity.ebx, identity.edx, identity.ecx] {
            for shift in [UInt32(0), 8, 16, 24] {
                let character = UInt8(truncatingIfNeeded: register >> shift)
                if (0x20..<0x7f).contains(character) { text.unicodeScalars.append(Unicode.Scalar(character)) }
            }
        }
        return text
    }

    /// The maker of this host's processors.
    public var vendor: String { Self.vendor(of: unmasked) }
}
