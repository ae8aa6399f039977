import GuestMemory
import Host

/// A machine of 64 KiB that runs a few bytes of code in ring 0 of long mode: for trying instructions, and for tests.
///
/// The first 2 MiB of linear addresses are physical ones. An exception or interrupt below 32 shows as a write to its own port.
struct BareMachine: ~Copyable {
    let machine: KVMVirtualMachine
    let memory: GuestMemory
    var cpu: KVMVirtualCPU
    /// What the processor announces.
    let cpuid: [KVMCPUIDEntry]
    private let sregs: KVMSregs

    /// Ports to which the handlers write: one for each vector.
    static let exceptionPorts: Range<UInt16> = 0x40..<0x60
    /// Where RSI points: a page of zeros.
    static let source: UInt64 = 0x8000
    /// Where RDI points: another.
    static let target: UInt64 = 0x9000
    /// Where the code is.
    static let code: UInt64 = 0xc000
    /// The end of RAM; addresses from here to 2 MiB are mapped, but nothing stands there.
    static let end: UInt64 = 0x1_0000

    private static let pml4: UInt64 = 0x1000
    private static let pdpt: UInt64 = 0x2000
    private static let pd: UInt64 = 0x3000
    private static let gdt: UInt64 = 0x4000
    private static let idt: UInt64 = 0x5000
    private static let handlers: UInt64 = 0x6000
    private static let stack: UInt64 = 0xb000
    private static let codeSelector: UInt16 = 0x08
    private static let dataSelector: UInt16 = 0x10

    init(_ system: KVMSystem, ioapicPins: UInt32?, logDirtyPages: Bool = false) throws(SystemError) {
        let memory = try GuestMemory(ranges: [0..<Self.end])
        // The addresses for Intel hosts: any that are no RAM.
        var configuration = KVMVirtualMachine.Configuration(
            memory: memory, ioapicPins: ioapicPins, taskStateAddress: 0xfeff_d000, identityMapAddress: 0xfeff_c000)
        configuration.logDirtyPages = logDirtyPages
        let machine = try KVMVirtualMachine(system, configuration)
        let cpu = try machine.makeVirtualCPU(id: 0)
        let cpuid = try system.supportedCPUID()
        try cpu.setCPUID(cpuid)
        let sregs = Self.longMode(try cpu.sregs(), cpuid)
        // Present and writable; the last one a large page.
        memory.store(Self.pdpt | 3, at: Self.pml4)
        memory.store(Self.pd | 3, at: Self.pdpt)
        memory.store(UInt64(0x83), at: Self.pd)
        memory.store(0x00af_9b00_0000_ffff as UInt64, at: Self.gdt + UInt64(Self.codeSelector))
        memory.store(0x00cf_9300_0000_ffff as UInt64, at: Self.gdt + UInt64(Self.dataSelector))
        for vector in UInt64(0)..<32 {
            let handler = Self.handlers + vector * 16
            // A 64-bit interrupt gate (Intel SDM volume 3, 7.14.1), open to ring 3 as kernels open that of INT3.
            memory.store(handler & 0xffff | UInt64(Self.codeSelector) << 16 | 0xee00 << 32, at: Self.idt + vector * 16)
            memory.write([0xe6, UInt8(Self.exceptionPorts.lowerBound + UInt16(vector))], at: handler)
        }
        self.memory = memory
        self.machine = machine
        self.cpu = cpu
        self.cpuid = cpuid
        self.sregs = sregs
    }

    /// Puts code in place and the processor at its beginning, with RAX 3, RBX 1 and RCX 8.
    mutating func load(_ bytes: [UInt8]) throws(SystemError) {
        memory.write([UInt8](repeating: 0, count: Int(Self.code - Self.source)), at: Self.source)
        memory.write(bytes, at: Self.code)
        try cpu.setSregs(sregs)
        var regs = KVMRegs()
        regs.rip = Self.code
        regs.rsp = Self.stack
        regs.rsi = Self.source
        regs.rdi = Self.target
        regs.rax = 3
        regs.rbx = 1
        regs.rcx = 8
        try cpu.setRegs(regs)
    }

    /// The processor alone; it keeps its machine.
    consuming func takeCPU() -> KVMVirtualCPU { cpu }

    private static func longMode(_ reset: KVMSregs, _ cpuid: [KVMCPUIDEntry]) -> KVMSregs {
        var sregs = reset
        var segment = KVMSegment()
        segment.limit = 0xffff_ffff
        segment.present = 1
        segment.s = 1
        segment.g = 1
        segment.type = 3
        segment.db = 1
        segment.selector = dataSelector
        (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (segment, segment, segment, segment, segment)
        segment.type = 11
        segment.db = 0
        segment.l = 1
        segment.selector = codeSelector
        sregs.cs = segment
        sregs.gdt = KVMDtable(base: gdt, limit: 0x17)
        sregs.idt = KVMDtable(base: idt, limit: 32 * 16 - 1)
        // PE, MP, ET, NE, PG; PAE, OSFXSR, OSXMMEXCPT, FSGSBASE and OSXSAVE; LME, LMA.
        sregs.cr0 = 0x8000_0033
        sregs.cr3 = pml4
        sregs.cr4 = 0x620
        if CPUIDFeature.fsgsbase.isAnnounced(by: cpuid) { sregs.cr4 |= 1 << 16 }
        if CPUIDFeature.xsave.isAnnounced(by: cpuid) { sregs.cr4 |= 1 << 18 }
        sregs.efer = 0x500
        return sregs
    }
}
