import CLinux
public import GuestMemory
public import Host
import Virtqueue

/// A virtual machine of KVM: memory slots, split interrupt controllers, doorbells, the clock, and the maker of virtual processors.
///
/// The order of making one is decided here once: memory slots first, because each change of a slot waits for a grace period of
/// everything that was registered before it; then the addresses for Intel hosts, then the interrupt controllers. Doorbells can only
/// come later, because they need the machine.
public final class KVMVirtualMachine: Sendable {
    /// What has to be known when a machine is made.
    public struct Configuration: Sendable {
        /// Guest RAM: its regions become the slots 0, 1, ….
        public var memory: GuestMemory
        /// Whether KVM notes which pages the guest writes. Turning it on later costs milliseconds per slot.
        public var logDirtyPages = false
        /// Pins of the IOAPIC in user space, whose GSIs stand at the beginning of the routing table; nil makes a machine without any
        /// interrupt controller, in which HLT is an exit.
        public var ioapicPins: UInt32?
        /// Guest physical address of three pages, below 4 GiB and not RAM, that Intel hosts need for real mode.
        public var taskStateAddress: UInt64
        /// Guest physical address of a page, below 4 GiB and not RAM, that Intel hosts need for real mode.
        public var identityMapAddress: UInt64
        /// The type of machine (KVM_CREATE_VM); 0 is the plain one.
        public var type: UInt = 0

        /// A configuration.
        public init(memory: GuestMemory, ioapicPins: UInt32?, taskStateAddress: UInt64, identityMapAddress: UInt64) {
            self.memory = memory
            self.ioapicPins = ioapicPins
            self.taskStateAddress = taskStateAddress
            self.identityMapAddress = identityMapAddress
        }
    }

    let descriptor: OwnedDescriptor
    let runAreaSize: Int
    /// Bytes of a virtual processor's XSAVE state.
    let xsaveSize: Int
    /// Guest RAM. The machine keeps it: its processors reach the mapping at any time.
    public let memory: GuestMemory

    /// Makes a machine.
    public init(_ system: KVMSystem, _ configuration: Configuration) throws(SystemError) {
        let descriptor = try system.createVM(type: configuration.type)
        let raw = descriptor.rawValue
        memory = configuration.memory
        runAreaSize = system.runAreaSize
        xsaveSize = max(system.check(.xsave2), MemoryLayout<kvm_xsave>.size)
        self.descriptor = descriptor

        for (index, region) in memory.regions.enumerated() {
            var slot = kvm_userspace_memory_region()
            slot.slot = UInt32(truncatingIfNeeded: index)
            slot.flags = configuration.logDirtyPages ? UInt32(KVM_MEM_LOG_DIRTY_PAGES) : 0
            slot.guest_phys_addr = region.guestAddress
            slot.memory_size = region.size
            slot.userspace_addr = unsafe UInt64(UInt(bitPattern: region.range.base))
            try KVMRequest.set(raw, SWV_KVM_SET_USER_MEMORY_REGION, slot, "KVM_SET_USER_MEMORY_REGION")
        }
        // The identity map must be placed before the first processor, the task state before it runs. AMD hosts need neither and
        // accept both.
        if system.check(.setIdentityMapAddress) > 0 {
            try KVMRequest.set(raw, SWV_KVM_SET_IDENTITY_MAP_ADDR, configuration.identityMapAddress, "KVM_SET_IDENTITY_MAP_ADDR")
        }
        if system.check(.setTSSAddress) > 0 {
            try KVMRequest.value(raw, SWV_KVM_SET_TSS_ADDR, "KVM_SET_TSS_ADDR", argument: UInt(configuration.taskStateAddress))
        }
        if let pins = configuration.ioapicPins {
            try enable(.splitIRQChip, UInt64(pins))
            // 32-bit identifiers make the LAPIC's saved form that of x2APIC; and identifier 255 is then a processor, no broadcast.
            let wanted = UInt64(KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)
            if UInt64(system.check(.x2apicAPI)) & wanted == wanted { try enable(.x2apicAPI, wanted) }
        }
    }

    private func enable(_ capability: KVMCapability, _ argument: UInt64) throws(SystemError) {
        var request = kvm_enable_cap()
        request.cap = UInt32(bitPattern: capability.number)
        request.args.0 = argument
        do {
            try KVMRequest.set(descriptor.rawValue, SWV_KVM_ENABLE_CAP, request, "KVM_ENABLE_CAP")
        } catch {
            throw SystemError(capability.name, error.errno)
        }
    }

    /// Makes a virtual processor. `id` is its APIC identifier.
    public func makeVirtualCPU(id: UInt32) throws(SystemError) -> KVMVirtualCPU {
        let raw = try KVMRequest.value(descriptor.rawValue, SWV_KVM_CREATE_VCPU, "KVM_CREATE_VCPU", argument: UInt(id))
        return try KVMVirtualCPU(OwnedDescriptor(owning: raw), id: id, of: self)
    }

    /// The guest's clock (KVM_GET_CLOCK).
    public func clock() throws(SystemError) -> KVMClockData {
        KVMClockData(try KVMRequest.get(descriptor.rawValue, SWV_KVM_GET_CLOCK, kvm_clock_data(), "KVM_GET_CLOCK"))
    }

    /// Sets the guest's clock (KVM_SET_CLOCK); call it while no processor runs.
    public func setClock(_ clock: KVMClockData) throws(SystemError) {
        try KVMRequest.set(descriptor.rawValue, SWV_KVM_SET_CLOCK, clock.forSetting, "KVM_SET_CLOCK")
    }

    /// The pages of a region that the guest has written since the last call, one bit per 4096 bytes, lowest first (KVM_GET_DIRTY_LOG).
    ///
    /// `region` is an index into `memory.regions`; fails with ENOENT unless the machine was made with `logDirtyPages`.
    public func dirtyLog(region: Int) throws(SystemError) -> [UInt64] {
        guard memory.regions.indices.contains(region) else { throw SystemError("KVM_GET_DIRTY_LOG", .invalidArgument) }
        let words = Int((memory.regions[region].size / 4096 + 63) / 64)
        let bitmap = KVMList<UInt64>(headerSize: 0, capacity: words)
        let raw = descriptor.rawValue
        _ = try retryingOnInterrupt("KVM_GET_DIRTY_LOG") {
            unsafe swv_kvm_get_dirty_log(raw, UInt32(truncatingIfNeeded: region), bitmap.base)
        }
        return bitmap.elements(words)
    }
}

extension KVMVirtualMachine: DoorbellRegistry {
    /// From now on the write signals `event` instead of being an exit (KVM_IOEVENTFD).
    public func add(_ doorbell: Doorbell, event: EventFD) throws(SystemError) {
        try register(doorbell, event, flags: 0)
    }

    /// Undoes `add`; fails with ENOENT when there was none.
    public func remove(_ doorbell: Doorbell, event: EventFD) throws(SystemError) {
        try register(doorbell, event, flags: UInt32(1 << kvm_ioeventfd_flag_nr_deassign))
    }

    private func register(_ doorbell: Doorbell, _ event: EventFD, flags: UInt32) throws(SystemError) {
        var request = kvm_ioeventfd()
        request.addr = doorbell.address
        request.len = doorbell.width
        request.fd = event.rawValue
        request.flags = flags
        if doorbell.space == .pio { request.flags |= UInt32(1 << kvm_ioeventfd_flag_nr_pio) }
        if let match = doorbell.match {
            request.datamatch = match
            request.flags |= UInt32(1 << kvm_ioeventfd_flag_nr_datamatch)
        }
        try KVMRequest.set(descriptor.rawValue, SWV_KVM_IOEVENTFD, request, "KVM_IOEVENTFD")
    }
}
