import CLinux

/// One leaf of CPUID (struct kvm_cpuid_entry2).
public struct KVMCPUIDEntry: Sendable, Hashable {
    /// The leaf: EAX on the way in.
    public var function: UInt32
    /// The subleaf: ECX on the way in.
    public var index: UInt32
    /// KVM_CPUID_FLAG_…; bit 0: the subleaf counts.
    public var flags: UInt32
    /// EAX on the way out.
    public var eax: UInt32
    /// EBX on the way out.
    public var ebx: UInt32
    /// ECX on the way out.
    public var ecx: UInt32
    /// EDX on the way out.
    public var edx: UInt32

    /// Set in `flags` where the subleaf counts (KVM_CPUID_FLAG_SIGNIFCANT_INDEX).
    public static let significantIndex: UInt32 = 1

    /// A leaf.
    public init(
        function: UInt32, index: UInt32 = 0, flags: UInt32 = 0, eax: UInt32 = 0, ebx: UInt32 = 0, ecx: UInt32 = 0, edx: UInt32 = 0
    ) {
        self.function = function
        self.index = index
        self.flags = flags
        self.eax = eax
        self.ebx = ebx
        self.ecx = ecx
        self.edx = edx
    }

    init(_ entry: kvm_cpuid_entry2) {
        self.init(
            function: entry.function, index: entry.index, flags: entry.flags, eax: entry.eax, ebx: entry.ebx, ecx: entry.ecx,
            edx: entry.edx)
    }

    var kernel: kvm_cpuid_entry2 {
        kvm_cpuid_entry2(
            function: function, index: index, flags: flags, eax: eax, ebx: ebx, ecx: ecx, edx: edx, padding: (0, 0, 0))
    }
}

/// A model-specific register (struct kvm_msr_entry).
public struct KVMMSREntry: Sendable, Hashable {
    /// Which register.
    public var index: UInt32
    /// Its value.
    public var data: UInt64

    /// A register.
    public init(index: UInt32, data: UInt64) {
        self.index = index
        self.data = data
    }

    init(_ entry: kvm_msr_entry) { self.init(index: entry.index, data: entry.data) }

    var kernel: kvm_msr_entry { kvm_msr_entry(index: index, reserved: 0, data: data) }
}

/// An extended control register (struct kvm_xcr): XCR0 says which parts of the XSAVE state are in use.
public struct KVMXcr: Sendable, Hashable {
    /// Which register.
    public var xcr: UInt32
    /// Its value.
    public var value: UInt64

    /// A register.
    public init(xcr: UInt32, value: UInt64) {
        self.xcr = xcr
        self.value = value
    }
}

/// What a virtual processor does when it is run (struct kvm_mp_state).
public struct KVMMPState: RawRepresentable, Sendable, Hashable {
    /// KVM_MP_STATE_….
    public var rawValue: UInt32

    /// A state.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Runs.
    public static let runnable = KVMMPState(rawValue: 0)
    /// Waits for INIT: every processor but the first, at the start.
    public static let uninitialized = KVMMPState(rawValue: 1)
    /// Waits for SIPI.
    public static let initReceived = KVMMPState(rawValue: 2)
    /// Waits for an interrupt.
    public static let halted = KVMMPState(rawValue: 3)
    /// Has got SIPI.
    public static let sipiReceived = KVMMPState(rawValue: 4)
}

/// Debug registers (struct kvm_debugregs).
public struct KVMDebugRegs: Sendable, Hashable {
    /// DR0 … DR3.
    public var db: [UInt64] = [0, 0, 0, 0]
    /// DR6.
    public var dr6: UInt64 = 0xffff_0ff0
    /// DR7.
    public var dr7: UInt64 = 0x400
    /// None is defined.
    public var flags: UInt64 = 0

    /// As after reset.
    public init() {}

    init(_ regs: kvm_debugregs) {
        db = [regs.db.0, regs.db.1, regs.db.2, regs.db.3]
        dr6 = regs.dr6
        dr7 = regs.dr7
        flags = regs.flags
    }

    var kernel: kvm_debugregs {
        var regs = kvm_debugregs()
        let db = db + [0, 0, 0, 0]
        regs.db = (db[0], db[1], db[2], db[3])
        regs.dr6 = dr6
        regs.dr7 = dr7
        regs.flags = flags
        return regs
    }
}

/// The guest's clock (struct kvm_clock_data).
public struct KVMClockData: Sendable, Hashable {
    /// Nanoseconds since the guest started.
    public var clock: UInt64
    /// KVM_CLOCK_…: which of the other fields hold something.
    public var flags: UInt32
    /// Nanoseconds of CLOCK_REALTIME at the same moment, with `hasRealTime` in the flags.
    public var realTime: UInt64
    /// The host's TSC at the same moment, with `hasHostTSC` in the flags.
    public var hostTSC: UInt64

    /// The processors' clocks agree (KVM_CLOCK_TSC_STABLE).
    public static let isTSCStable: UInt32 = 1 << 1
    /// `realTime` is valid; when set, KVM advances the clock by what has passed since then (KVM_CLOCK_REALTIME).
    public static let hasRealTime: UInt32 = 1 << 2
    /// `hostTSC` is valid (KVM_CLOCK_HOST_TSC).
    public static let hasHostTSC: UInt32 = 1 << 3

    /// A clock.
    public init(clock: UInt64, flags: UInt32 = 0, realTime: UInt64 = 0, hostTSC: UInt64 = 0) {
        self.clock = clock
        self.flags = flags
        self.realTime = realTime
        self.hostTSC = hostTSC
    }

    init(_ data: kvm_clock_data) {
        self.init(clock: data.clock, flags: data.flags, realTime: data.realtime, hostTSC: data.host_tsc)
    }

    /// KVM takes back only one of the flags that it gives.
    var forSetting: kvm_clock_data {
        var data = kvm_clock_data()
        data.clock = clock
        data.flags = flags & Self.hasRealTime
        data.realtime = realTime
        return data
    }
}
