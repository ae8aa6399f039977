import CLinux

/// Exceptions and interrupts on their way (struct kvm_vcpu_events).
public struct KVMVCPUEvents: Sendable, Hashable {
    /// 1: the exception is being delivered.
    public var exceptionInjected: UInt8 = 0
    /// Its vector.
    public var exceptionNumber: UInt8 = 0
    /// 1: it has an error code.
    public var exceptionHasErrorCode: UInt8 = 0
    /// 1: it waits (only with the capability for payloads).
    public var exceptionPending: UInt8 = 0
    /// Its error code.
    public var exceptionErrorCode: UInt32 = 0
    /// 1: the interrupt is being delivered.
    public var interruptInjected: UInt8 = 0
    /// Its vector.
    public var interruptNumber: UInt8 = 0
    /// 1: it is a software interrupt.
    public var interruptSoft: UInt8 = 0
    /// KVM_X86_SHADOW_INT_…: whether interrupts wait for one more instruction.
    public var interruptShadow: UInt8 = 0
    /// 1: the NMI is being delivered.
    public var nmiInjected: UInt8 = 0
    /// NMIs that wait.
    public var nmiPending: UInt8 = 0
    /// 1: NMIs are blocked until IRET.
    public var nmiMasked: UInt8 = 0
    /// Unused by kernels of this decade.
    public var sipiVector: UInt32 = 0
    /// KVM_VCPUEVENT_VALID_…: which of the optional fields hold something.
    public var flags: UInt32 = 0
    /// 1: in system management mode.
    public var smm: UInt8 = 0
    /// 1: an SMI waits.
    public var smiPending: UInt8 = 0
    /// 1: it was entered with NMIs blocked.
    public var smmInsideNMI: UInt8 = 0
    /// 1: INIT waits for its end.
    public var smiLatchedInit: UInt8 = 0
    /// 1: a triple fault waits.
    public var tripleFaultPending: UInt8 = 0
    /// 1: the exception has a payload.
    public var exceptionHasPayload: UInt8 = 0
    /// The payload: CR2 or DR6.
    public var exceptionPayload: UInt64 = 0

    /// Nothing on its way.
    public init() {}

    init(_ events: kvm_vcpu_events) {
        exceptionInjected = events.exception.injected
        exceptionNumber = events.exception.nr
        exceptionHasErrorCode = events.exception.has_error_code
        exceptionPending = events.exception.pending
        exceptionErrorCode = events.exception.error_code
        interruptInjected = events.interrupt.injected
        interruptNumber = events.interrupt.nr
        interruptSoft = events.interrupt.soft
        interruptShadow = events.interrupt.shadow
        nmiInjected = events.nmi.injected
        nmiPending = events.nmi.pending
        nmiMasked = events.nmi.masked
        sipiVector = events.sipi_vector
        flags = events.flags
        smm = events.smi.smm
        smiPending = events.smi.pending
        smmInsideNMI = events.smi.smm_inside_nmi
        smiLatchedInit = events.smi.latched_init
        tripleFaultPending = events.triple_fault.pending
        exceptionHasPayload = events.exception_has_payload
        exceptionPayload = events.exception_payload
    }

    var kernel: kvm_vcpu_events {
        var events = kvm_vcpu_events()
        events.exception.injected = exceptionInjected
        events.exception.nr = exceptionNumber
        events.exception.has_error_code = exceptionHasErrorCode
        events.exception.pending = exceptionPending
        events.exception.error_code = exceptionErrorCode
        events.interrupt.injected = interruptInjected
        events.interrupt.nr = interruptNumber
        events.interrupt.soft = interruptSoft
        events.interrupt.shadow = interruptShadow
        events.nmi.injected = nmiInjected
        events.nmi.pending = nmiPending
        events.nmi.masked = nmiMasked
        events.sipi_vector = sipiVector
        events.flags = flags
        events.smi.smm = smm
        events.smi.pending = smiPending
        events.smi.smm_inside_nmi = smmInsideNMI
        events.smi.latched_init = smiLatchedInit
        events.triple_fault.pending = tripleFaultPending
        events.exception_has_payload = exceptionHasPayload
        events.exception_payload = exceptionPayload
        return events
    }
}
