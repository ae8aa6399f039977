import CLinux

/// What a host's KVM may or may not be able to do (KVM_CHECK_EXTENSION). The list holds what swvmm asks about.
public enum KVMCapability: Sendable, Hashable, CaseIterable {
    /// LAPICs in the kernel, IOAPIC in user space.
    case splitIRQChip
    /// Interrupts from eventfds.
    case irqfd
    /// A routing table from GSIs to messages.
    case irqRouting
    /// Injection of single messages.
    case signalMSI
    /// Doorbells.
    case ioeventfd
    /// Doorbells for writes of any width.
    case ioeventfdAnyLength
    /// An `immediate_exit` flag that makes kicks free of races.
    case immediateExit
    /// Guest memory from user space.
    case userMemory
    /// The place of the three pages for the task state on Intel hosts can be chosen.
    case setTSSAddress
    /// The place of the page for the identity map on Intel hosts can be chosen.
    case setIdentityMapAddress
    /// 32-bit APIC identifiers; the answer is a mask of flags.
    case x2apicAPI
    /// TSC deadline mode of the LAPIC timer.
    case tscDeadlineTimer
    /// The clock of guests can be read and set; the answer is a mask of flags.
    case adjustClock
    /// The TSC frequency can be set.
    case tscControl
    /// Floating-point and vector state can be read and set.
    case xsave
    /// The size of that state in bytes; 0 where it is fixed at 4096.
    case xsave2
    /// XCR0 can be read and set.
    case xcrs
    /// Debug registers can be read and set.
    case debugRegisters
    /// Pending exceptions and interrupts can be read and set.
    case vcpuEvents
    /// Running, halted, waiting for INIT or SIPI can be read and set.
    case mpState
    /// Slots that the guest cannot write.
    case readOnlyMemory
    /// The recommended number of virtual processors.
    case vcpuCount
    /// The largest number of virtual processors.
    case maxVCPUCount
    /// The number of memory slots.
    case memorySlotCount
    /// The exclusive upper bound of virtual processor ids.
    case maxVCPUID

    /// What swvmm cannot work without.
    public static let required: [KVMCapability] = [
        .userMemory, .splitIRQChip, .irqfd, .irqRouting, .signalMSI, .ioeventfd, .immediateExit, .xcrs, .xsave, .mpState, .vcpuEvents,
    ]

    /// The kernel's number.
    var number: Int32 {
        switch self {
        case .splitIRQChip: KVM_CAP_SPLIT_IRQCHIP
        case .irqfd: KVM_CAP_IRQFD
        case .irqRouting: KVM_CAP_IRQ_ROUTING
        case .signalMSI: KVM_CAP_SIGNAL_MSI
        case .ioeventfd: KVM_CAP_IOEVENTFD
        case .ioeventfdAnyLength: KVM_CAP_IOEVENTFD_ANY_LENGTH
        case .immediateExit: KVM_CAP_IMMEDIATE_EXIT
        case .userMemory: KVM_CAP_USER_MEMORY
        case .setTSSAddress: KVM_CAP_SET_TSS_ADDR
        case .setIdentityMapAddress: KVM_CAP_SET_IDENTITY_MAP_ADDR
        case .x2apicAPI: KVM_CAP_X2APIC_API
        case .tscDeadlineTimer: KVM_CAP_TSC_DEADLINE_TIMER
        case .adjustClock: KVM_CAP_ADJUST_CLOCK
        case .tscControl: KVM_CAP_TSC_CONTROL
        case .xsave: KVM_CAP_XSAVE
        case .xsave2: KVM_CAP_XSAVE2
        case .xcrs: KVM_CAP_XCRS
        case .debugRegisters: KVM_CAP_DEBUGREGS
        case .vcpuEvents: KVM_CAP_VCPU_EVENTS
        case .mpState: KVM_CAP_MP_STATE
        case .readOnlyMemory: KVM_CAP_READONLY_MEM
        case .vcpuCount: KVM_CAP_NR_VCPUS
        case .maxVCPUCount: KVM_CAP_MAX_VCPUS
        case .memorySlotCount: KVM_CAP_NR_MEMSLOTS
        case .maxVCPUID: KVM_CAP_MAX_VCPU_ID
        }
    }

    /// The kernel's name.
    public var name: String {
        switch self {
        case .splitIRQChip: "KVM_CAP_SPLIT_IRQCHIP"
        case .irqfd: "KVM_CAP_IRQFD"
        case .irqRouting: "KVM_CAP_IRQ_ROUTING"
        case .signalMSI: "KVM_CAP_SIGNAL_MSI"
        case .ioeventfd: "KVM_CAP_IOEVENTFD"
        case .ioeventfdAnyLength: "KVM_CAP_IOEVENTFD_ANY_LENGTH"
        case .immediateExit: "KVM_CAP_IMMEDIATE_EXIT"
        case .userMemory: "KVM_CAP_USER_MEMORY"
        case .setTSSAddress: "KVM_CAP_SET_TSS_ADDR"
        case .setIdentityMapAddress: "KVM_CAP_SET_IDENTITY_MAP_ADDR"
        case .x2apicAPI: "KVM_CAP_X2APIC_API"
        case .tscDeadlineTimer: "KVM_CAP_TSC_DEADLINE_TIMER"
        case .adjustClock: "KVM_CAP_ADJUST_CLOCK"
        case .tscControl: "KVM_CAP_TSC_CONTROL"
        case .xsave: "KVM_CAP_XSAVE"
        case .xsave2: "KVM_CAP_XSAVE2"
        case .xcrs: "KVM_CAP_XCRS"
        case .debugRegisters: "KVM_CAP_DEBUGREGS"
        case .vcpuEvents: "KVM_CAP_VCPU_EVENTS"
        case .mpState: "KVM_CAP_MP_STATE"
        case .readOnlyMemory: "KVM_CAP_READONLY_MEM"
        case .vcpuCount: "KVM_CAP_NR_VCPUS"
        case .maxVCPUCount: "KVM_CAP_MAX_VCPUS"
        case .memorySlotCount: "KVM_CAP_NR_MEMSLOTS"
        case .maxVCPUID: "KVM_CAP_MAX_VCPU_ID"
        }
    }
}
