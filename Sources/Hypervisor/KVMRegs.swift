import CLinux

/// General registers (struct kvm_regs).
public struct KVMRegs: Sendable, Hashable {
    /// RAX.
    public var rax: UInt64 = 0
    /// RBX.
    public var rbx: UInt64 = 0
    /// RCX.
    public var rcx: UInt64 = 0
    /// RDX.
    public var rdx: UInt64 = 0
    /// RSI.
    public var rsi: UInt64 = 0
    /// RDI.
    public var rdi: UInt64 = 0
    /// RSP.
    public var rsp: UInt64 = 0
    /// RBP.
    public var rbp: UInt64 = 0
    /// R8.
    public var r8: UInt64 = 0
    /// R9.
    public var r9: UInt64 = 0
    /// R10.
    public var r10: UInt64 = 0
    /// R11.
    public var r11: UInt64 = 0
    /// R12.
    public var r12: UInt64 = 0
    /// R13.
    public var r13: UInt64 = 0
    /// R14.
    public var r14: UInt64 = 0
    /// R15.
    public var r15: UInt64 = 0
    /// The instruction pointer.
    public var rip: UInt64 = 0
    /// The flags; bit 1 is always set.
    public var rflags: UInt64 = 2

    /// All zero, except for the flag that always is set.
    public init() {}

    init(_ regs: kvm_regs) {
        rax = regs.rax
        rbx = regs.rbx
        rcx = regs.rcx
        rdx = regs.rdx
        rsi = regs.rsi
        rdi = regs.rdi
        rsp = regs.rsp
        rbp = regs.rbp
        r8 = regs.r8
        r9 = regs.r9
        r10 = regs.r10
        r11 = regs.r11
        r12 = regs.r12
        r13 = regs.r13
        r14 = regs.r14
        r15 = regs.r15
        rip = regs.rip
        rflags = regs.rflags
    }

    var kernel: kvm_regs {
        kvm_regs(
            rax: rax, rbx: rbx, rcx: rcx, rdx: rdx, rsi: rsi, rdi: rdi, rsp: rsp, rbp: rbp, r8: r8, r9: r9, r10: r10, r11: r11, r12: r12,
            r13: r13, r14: r14, r15: r15, rip: rip, rflags: rflags)
    }
}
