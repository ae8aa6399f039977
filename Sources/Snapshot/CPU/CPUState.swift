public import Host
public import Hypervisor
public import Schema

/// Everything of a virtual CPU that a snapshot keeps, but for its clocks (see the machine's clock).
public struct CPUState: Sendable, Equatable {
    /// The APIC identifier.
    public var id: UInt32 = 0
    /// What the guest was told of its processor.
    public var cpuid: [KVMCPUIDEntry] = []
    /// Whether it runs, is halted or waits to be started.
    public var mpState = KVMMPState.runnable
    /// General registers.
    public var regs = KVMRegs()
    /// Segment, table and control registers.
    public var sregs = KVMSregs()
    /// Debug registers.
    public var debugRegs = KVMDebugRegs()
    /// Extended control registers.
    public var xcrs: [KVMXcr] = []
    /// Model-specific registers.
    public var msrs: [KVMMSREntry] = []
    /// Exceptions and interrupts on their way.
    public var events = KVMVCPUEvents()
    /// The local APIC's page of registers.
    public var lapic: [UInt8] = []
    /// Floating-point and vector state, in the layout of CPUID leaf 0xd.
    public var xsave: [UInt8] = []

    init() {}

    /// Registers that are not part of the state: those that the special registers hold already (IA32_APIC_BASE, EFER), those that the
    /// machine's clock holds (IA32_TSC, IA32_TSC_DEADLINE), requests rather than state (the wall clock of KVM, which the guest asks for
    /// anew each time; the old number of the system time), and those of Hyper-V, which our guests are not offered.
    private static func isKept(_ index: UInt32) -> Bool {
        switch index {
        case 0x10, 0x1b, 0x6e0, 0xc000_0080, 0x11, 0x12, 0x4b56_4d00: false
        case 0x4000_0000...0x4000_01ff: false
        default: true
        }
    }

    /// Reads the state of a CPU that stands still. `cpuid` is what it was given: what KVM answers is that as the guest's doings, and on some
    /// hosts the processor itself, have changed it. `msrIndices` are those that this host can save.
    public init(of cpu: borrowing KVMVirtualCPU, cpuid: [KVMCPUIDEntry], msrIndices: [UInt32]) throws(SystemError) {
        self.cpuid = cpuid
        id = cpu.id
        // First, because reading it completes an INIT or SIPI that is on its way, which changes registers; the events last, because reading
        // others may change them.
        mpState = try cpu.mpState()
        regs = try cpu.regs()
        sregs = try cpu.sregs()
        debugRegs = try cpu.debugRegs()
        xcrs = try cpu.xcrs()
        msrs = try cpu.msrs(msrIndices.filter(Self.isKept))
        lapic = try cpu.lapic()
        xsave = try cpu.xsave()
        events = try cpu.events()
    }

    /// Gives the state to a new CPU that has not run. Model-specific registers that the host does not take, though their values differ, are
    /// returned: the guest cannot go on there.
    public func apply(to cpu: borrowing KVMVirtualCPU) throws(SystemError) -> [KVMMSREntry] {
        try cpu.setCPUID(cpuid)
        try cpu.setSregs(sregs)
        try cpu.setXcrs(xcrs)
        try cpu.setXsave(xsave)
        // Many have the right value already, and some of those cannot be written.
        let present = Dictionary(try cpu.msrs(msrs.map(\.index)).map { ($0.index, $0.data) }) { $1 }
        let refused = try cpu.setMSRs(msrs.filter { present[$0.index] != $0.data })
        try cpu.setLAPIC(lapic)
        try cpu.setRegs(regs)
        try cpu.setDebugRegs(debugRegs)
        try cpu.setMPState(mpState)
        try cpu.setEvents(events)
        return refused
    }
}

extension CPUState: CodedState {
    /// The most bytes that floating-point and vector state can take; processors of today use 11 KiB.
    private static let mostXsave = 1 << 20

    mutating func code(_ coder: inout some StateCoder) throws(StateError) {
        try coder.number("id", &id, upTo: 254)
        var running = mpState.rawValue
        // KVM_MP_STATE_SIPI_RECEIVED is 4; what lies above belongs to other architectures.
        try coder.number("mpState", &running, upTo: 4)
        mpState = KVMMPState(rawValue: running)
        try coder.list("cpuid", &cpuid, count: 1...256)
        try coder.nested("regs", &regs)
        try coder.nested("sregs", &sregs)
        try coder.nested("debugRegs", &debugRegs)
        try coder.list("xcrs", &xcrs, count: 0...16)
        try coder.list("msrs", &msrs, count: 0...4096)
        try coder.nested("events", &events)
        try coder.blob("lapic", &lapic, count: KVMVirtualCPU.lapicSize...KVMVirtualCPU.lapicSize)
        try coder.blob("xsave", &xsave, count: 4096...Self.mostXsave)
    }

    /// The state as a JSON object.
    public var document: JSONValue { json }

    /// What a guest was told of its processor, as text: equal texts, equal processors.
    public static func describe(_ entries: [KVMCPUIDEntry]) -> String { JSONText.encode(.array(entries.map(\.json)), compact: true) }

    /// Reads a saved state.
    public init(reading saved: SavedValue) throws(StateError) { try self.init(saved) }
}
