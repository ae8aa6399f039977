import CLinux

/// x87 and SSE registers (struct kvm_fpu). KVM's XSAVE state holds all of this and more.
public struct KVMFPU: Sendable, Hashable {
    /// ST0 … ST7, 16 bytes each.
    public var fpr = [UInt8](repeating: 0, count: 128)
    /// Control word.
    public var fcw: UInt16 = 0
    /// Status word.
    public var fsw: UInt16 = 0
    /// Tag word, in the short form of FXSAVE.
    public var ftwx: UInt8 = 0
    /// Opcode of the last instruction.
    public var lastOpcode: UInt16 = 0
    /// Its address.
    public var lastIP: UInt64 = 0
    /// The address of its operand.
    public var lastDP: UInt64 = 0
    /// MXCSR.
    public var mxcsr: UInt32 = 0
    /// XMM0 … XMM15, 16 bytes each.
    public var xmm = [UInt8](repeating: 0, count: 256)

    /// As after reset: all exceptions masked.
    public init() {
        fcw = 0x37f
        mxcsr = 0x1f80
    }

    init(_ fpu: kvm_fpu) {
        fpr = unsafe withUnsafeBytes(of: fpu.fpr) { unsafe Array($0) }
        xmm = unsafe withUnsafeBytes(of: fpu.xmm) { unsafe Array($0) }
        fcw = fpu.fcw
        fsw = fpu.fsw
        ftwx = fpu.ftwx
        lastOpcode = fpu.last_opcode
        lastIP = fpu.last_ip
        lastDP = fpu.last_dp
        mxcsr = fpu.mxcsr
    }

    var kernel: kvm_fpu {
        var fpu = kvm_fpu()
        unsafe withUnsafeMutableBytes(of: &fpu.fpr) { unsafe $0.copyBytes(from: fpr.prefix($0.count)) }
        unsafe withUnsafeMutableBytes(of: &fpu.xmm) { unsafe $0.copyBytes(from: xmm.prefix($0.count)) }
        fpu.fcw = fcw
        fpu.fsw = fsw
        fpu.ftwx = ftwx
        fpu.last_opcode = lastOpcode
        fpu.last_ip = lastIP
        fpu.last_dp = lastDP
        fpu.mxcsr = mxcsr
        return fpu
    }
}
