import CLinux
public import Host

/// The state of a processor, to be read and set while it is not in `run`. After `run` has returned `.interrupted`, it is complete.
///
/// To restore: CPUID first, then special registers, XCRs and XSAVE, MSRs (IA32_TSC before IA32_TSC_DEADLINE), LAPIC, then general
/// registers, debug registers, the running state, and the events last.
extension KVMVirtualCPU {
    /// General registers.
    public borrowing func regs() throws(SystemError) -> KVMRegs {
        KVMRegs(try KVMRequest.get(descriptor.rawValue, SWV_KVM_GET_REGS, kvm_regs(), "KVM_GET_REGS"))
    }

    /// Sets the general registers.
    public borrowing func setRegs(_ regs: KVMRegs) throws(SystemError) {
        try KVMRequest.set(descriptor.rawValue, SWV_KVM_SET_REGS, regs.kernel, "KVM_SET_REGS")
    }

    /// Segment, table and control registers.
    public borrowing func sregs() throws(SystemError) -> KVMSregs {
        KVMSregs(try KVMRequest.get(descriptor.rawValue, SWV_KVM_GET_SREGS, kvm_sregs(), "KVM_GET_SREGS"))
    }

    /// Sets segment, table and control registers. EFER is checked against CPUID, which therefore comes first.
    public borrowing func setSregs(_ sregs: KVMSregs) throws(SystemError) {
        try KVMRequest.set(descriptor.rawValue, SWV_KVM_SET_SREGS, sregs.kernel, "KVM_SET_SREGS")
    }

    /// x87 and SSE registers.
    public borrowing func fpu() throws(SystemError) -> KVMFPU {
        KVMFPU(try KVMRequest.get(descriptor.rawValue, SWV_KVM_GET_FPU, kvm_fpu(), "KVM_GET_FPU"))
    }

    /// Sets x87 and SSE registers.
    public borrowing func setFPU(_ fpu: KVMFPU) throws(SystemError) {
        try KVMRequest.set(descriptor.rawValue, SWV_KVM_SET_FPU, fpu.kernel, "KVM_SET_FPU")
    }

    /// Extended control registers.
    public borrowing func xcrs() throws(SystemError) -> [KVMXcr] {
        let answer = try KVMRequest.get(descriptor.rawValue, SWV_KVM_GET_XCRS, kvm_xcrs(), "KVM_GET_XCRS")
        let all = unsafe withUnsafeBytes(of: answer.xcrs) { unsafe Array($0.bindMemory(to: kvm_xcr.self)) }
        return all.prefix(Int(answer.nr_xcrs)).map { KVMXcr(xcr: $0.xcr, value: $0.value) }
    }

    /// Sets extended control registers, 16 at most.
    public borrowing func setXcrs(_ xcrs: [KVMXcr]) throws(SystemError) {
        var request = kvm_xcrs()
        let capacity = unsafe withUnsafeMutableBytes(of: &request.xcrs) { all in
            let slots = unsafe all.bindMemory(to: kvm_xcr.self)
            for (index, xcr) in xcrs.prefix(slots.count).enumerated() {
                unsafe slots[index] = kvm_xcr(xcr: xcr.xcr, reserved: 0, value: xcr.value)
            }
            return slots.count
        }
        guard xcrs.count <= capacity else { throw SystemError("KVM_SET_XCRS", .invalidArgument) }
        request.nr_xcrs = UInt32(xcrs.count)
        try KVMRequest.set(descriptor.rawValue, SWV_KVM_SET_XCRS, request, "KVM_SET_XCRS")
    }

    /// Bytes of the XSAVE state on this host: 4096 or more.
    public var xsaveSize: Int { machine.xsaveSize }

    /// All floating-point and vector state, `xsaveSize` bytes in the layout of CPUID leaf 0xd.
    public borrowing func xsave() throws(SystemError) -> [UInt8] {
        // Older kernels know the fixed size only.
        let fixed = xsaveSize <= MemoryLayout<kvm_xsave>.size
        return try KVMRequest.getBytes(
            descriptor.rawValue, fixed ? SWV_KVM_GET_XSAVE : SWV_KVM_GET_XSAVE2, count: xsaveSize, "KVM_GET_XSAVE")
    }

    /// Sets all floating-point and vector state: exactly `xsaveSize` bytes.
    public borrowing func setXsave(_ state: [UInt8]) throws(SystemError) {
        try KVMRequest.setBytes(descriptor.rawValue, SWV_KVM_SET_XSAVE, state, count: xsaveSize, "KVM_SET_XSAVE")
    }

    /// Model-specific registers, in the order asked for, without those that KVM does not let us read.
    public borrowing func msrs(_ indices: [UInt32]) throws(SystemError) -> [KVMMSREntry] {
        var rest = indices.map { kvm_msr_entry(index: $0, reserved: 0, data: 0) }
        var found: [KVMMSREntry] = []
        while !rest.isEmpty {
            let list = KVMList(headerSize: MemoryLayout<kvm_msrs>.size, rest)
            let raw = descriptor.rawValue
            // The answer is how many were read before the first that cannot be.
            let count = Int(try retryingOnInterrupt("KVM_GET_MSRS") { unsafe swv_kvm_structure(raw, SWV_KVM_GET_MSRS, list.base) })
            found += list.elements(count).map(KVMMSREntry.init)
            rest.removeFirst(min(count + 1, rest.count))
        }
        return found
    }

    /// Sets model-specific registers, in order. Returns those that KVM did not take; the others are set.
    public borrowing func setMSRs(_ entries: [KVMMSREntry]) throws(SystemError) -> [KVMMSREntry] {
        var rest = entries
        var refused: [KVMMSREntry] = []
        while !rest.isEmpty {
            let list = KVMList(headerSize: MemoryLayout<kvm_msrs>.size, rest.map(\.kernel))
            let raw = descriptor.rawValue
            let count = Int(try retryingOnInterrupt("KVM_SET_MSRS") { unsafe swv_kvm_structure(raw, SWV_KVM_SET_MSRS, list.base) })
            if count < rest.count { refused.append(rest[count]) }
            rest.removeFirst(min(count + 1, rest.count))
        }
        return refused
    }

    /// The leaves of CPUID that the guest sees.
    public borrowing func cpuid() throws(SystemError) -> [KVMCPUIDEntry] {
        let list = KVMList<kvm_cpuid_entry2>(headerSize: MemoryLayout<kvm_cpuid2>.size, capacity: 256)
        let raw = descriptor.rawValue
        _ = try retryingOnInterrupt("KVM_GET_CPUID2") { unsafe swv_kvm_structure(raw, SWV_KVM_GET_CPUID2, list.base) }
        return list.elements(list.count).map(KVMCPUIDEntry.init)
    }

    /// Sets the leaves of CPUID, before the processor first runs.
    public borrowing func setCPUID(_ entries: [KVMCPUIDEntry]) throws(SystemError) {
        let list = KVMList(headerSize: MemoryLayout<kvm_cpuid2>.size, entries.map(\.kernel))
        let raw = descriptor.rawValue
        _ = try retryingOnInterrupt("KVM_SET_CPUID2") { unsafe swv_kvm_structure(raw, SWV_KVM_SET_CPUID2, list.base) }
    }

    /// The LAPIC's registers: `lapicSize` bytes, laid out as its page.
    public borrowing func lapic() throws(SystemError) -> [UInt8] {
        try KVMRequest.getBytes(descriptor.rawValue, SWV_KVM_GET_LAPIC, count: Self.lapicSize, "KVM_GET_LAPIC")
    }

    /// Sets the LAPIC's registers: exactly `lapicSize` bytes.
    public borrowing func setLAPIC(_ registers: [UInt8]) throws(SystemError) {
        try KVMRequest.setBytes(descriptor.rawValue, SWV_KVM_SET_LAPIC, registers, count: Self.lapicSize, "KVM_SET_LAPIC")
    }

    /// Bytes of the LAPIC's saved registers (KVM_APIC_REG_SIZE).
    public static var lapicSize: Int { MemoryLayout<kvm_lapic_state>.size }

    /// Whether it runs, is halted or waits to be started.
    public borrowing func mpState() throws(SystemError) -> KVMMPState {
        let state = try KVMRequest.get(descriptor.rawValue, SWV_KVM_GET_MP_STATE, kvm_mp_state(), "KVM_GET_MP_STATE")
        return KVMMPState(rawValue: state.mp_state)
    }

    /// Sets whether it runs, is halted or waits to be started.
    public borrowing func setMPState(_ state: KVMMPState) throws(SystemError) {
        try KVMRequest.set(descriptor.rawValue, SWV_KVM_SET_MP_STATE, kvm_mp_state(mp_state: state.rawValue), "KVM_SET_MP_STATE")
    }

    /// Exceptions and interrupts on their way.
    public borrowing func events() throws(SystemError) -> KVMVCPUEvents {
        KVMVCPUEvents(try KVMRequest.get(descriptor.rawValue, SWV_KVM_GET_VCPU_EVENTS, kvm_vcpu_events(), "KVM_GET_VCPU_EVENTS"))
    }

    /// Sets exceptions and interrupts on their way.
    public borrowing func setEvents(_ events: KVMVCPUEvents) throws(SystemError) {
        try KVMRequest.set(descriptor.rawValue, SWV_KVM_SET_VCPU_EVENTS, events.kernel, "KVM_SET_VCPU_EVENTS")
    }

    /// Debug registers.
    public borrowing func debugRegs() throws(SystemError) -> KVMDebugRegs {
        KVMDebugRegs(try KVMRequest.get(descriptor.rawValue, SWV_KVM_GET_DEBUGREGS, kvm_debugregs(), "KVM_GET_DEBUGREGS"))
    }

    /// Sets debug registers.
    public borrowing func setDebugRegs(_ regs: KVMDebugRegs) throws(SystemError) {
        try KVMRequest.set(descriptor.rawValue, SWV_KVM_SET_DEBUGREGS, regs.kernel, "KVM_SET_DEBUGREGS")
    }

    /// The frequency of the guest's TSC in kHz.
    public borrowing func tscKHz() throws(SystemError) -> UInt32 {
        UInt32(bitPattern: try KVMRequest.value(descriptor.rawValue, SWV_KVM_GET_TSC_KHZ, "KVM_GET_TSC_KHZ"))
    }

    /// Sets the frequency of the guest's TSC in kHz. Hosts without TSC scaling take their own frequency only.
    public borrowing func setTSCKHz(_ frequency: UInt32) throws(SystemError) {
        try KVMRequest.value(descriptor.rawValue, SWV_KVM_SET_TSC_KHZ, "KVM_SET_TSC_KHZ", argument: UInt(frequency))
    }

    /// How far the guest's TSC is from the host's, modulo 2⁶⁴ (KVM_VCPU_TSC_OFFSET); nil where KVM does not tell (before Linux 5.16).
    public borrowing func tscOffset() throws(SystemError) -> UInt64? {
        var offset: UInt64 = 0
        return try tscControl(SWV_KVM_GET_DEVICE_ATTR, "KVM_GET_DEVICE_ATTR", &offset) ? offset : nil
    }

    /// Sets it; false where KVM does not let us. Processors with equal offsets stay in step, which writes of IA32_TSC cannot promise.
    public borrowing func setTSCOffset(_ offset: UInt64) throws(SystemError) -> Bool {
        var offset = offset
        return try tscControl(SWV_KVM_SET_DEVICE_ATTR, "KVM_SET_DEVICE_ATTR", &offset)
    }

    private borrowing func tscControl(
        _ request: swv_kvm_request, _ name: StaticString, _ value: inout UInt64
    ) throws(SystemError) -> Bool {
        let raw = descriptor.rawValue
        do {
            _ = try retryingOnInterrupt(name) { unsafe swv_kvm_tsc_offset(raw, request, &value) }
            return true
        } catch {
            if error.errno == .noDeviceOrAddress || error.errno.rawValue == ENOTTY || error.errno == .invalidArgument { return false }
            throw error
        }
    }

    /// Tells the guest's kernel that it was paused, so that its watchdogs do not bark (KVM_KVMCLOCK_CTRL). Fails with EINVAL when it
    /// has no KVM clock.
    public borrowing func notifyPaused() throws(SystemError) {
        try KVMRequest.value(descriptor.rawValue, SWV_KVM_KVMCLOCK_CTRL, "KVM_KVMCLOCK_CTRL")
    }

    /// Injects a non-maskable interrupt (KVM_NMI).
    public borrowing func injectNMI() throws(SystemError) {
        try KVMRequest.value(descriptor.rawValue, SWV_KVM_NMI, "KVM_NMI")
    }
}
