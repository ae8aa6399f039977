import CLinux
public import Host

/// An open /dev/kvm: what this host can virtualise, and the maker of virtual machines.
public final class KVMSystem: Sendable {
    private let descriptor: OwnedDescriptor
    /// Bytes of a virtual processor's shared record.
    let runAreaSize: Int

    /// Takes over an open /dev/kvm. Fails with EINVAL when it speaks another version of the API than 12, the only one there is.
    public init(descriptor: consuming OwnedDescriptor) throws(SystemError) {
        let raw = descriptor.rawValue
        guard try KVMRequest.value(raw, SWV_KVM_GET_API_VERSION, "KVM_GET_API_VERSION") == KVM_API_VERSION else {
            throw SystemError("KVM_GET_API_VERSION", .invalidArgument)
        }
        runAreaSize = Int(try KVMRequest.value(raw, SWV_KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE"))
        self.descriptor = descriptor
    }

    /// What KVM says about a capability: 0 is no, 1 is yes, some answer with a number or a mask.
    public func check(_ capability: KVMCapability) -> Int {
        let answer = swv_kvm_value(descriptor.rawValue, SWV_KVM_CHECK_EXTENSION, UInt(bitPattern: Int(capability.number)))
        return max(Int(answer), 0)
    }

    /// What swvmm needs and this host lacks.
    public func missingCapabilities() -> [KVMCapability] { KVMCapability.required.filter { check($0) == 0 } }

    /// The CPUID leaves that guests on this host can have (KVM_GET_SUPPORTED_CPUID).
    public func supportedCPUID() throws(SystemError) -> [KVMCPUIDEntry] {
        var capacity = 256
        while true {
            let list = KVMList<kvm_cpuid_entry2>(headerSize: MemoryLayout<kvm_cpuid2>.size, capacity: capacity)
            do {
                let raw = descriptor.rawValue
                _ = try retryingOnInterrupt("KVM_GET_SUPPORTED_CPUID") {
                    unsafe swv_kvm_structure(raw, SWV_KVM_GET_SUPPORTED_CPUID, list.base)
                }
                return list.elements(list.count).map(KVMCPUIDEntry.init)
            } catch {
                // The kernel does not say how many there are; nobody has thousands.
                guard error.errno.rawValue == E2BIG, capacity < 8192 else { throw error }
                capacity *= 2
            }
        }
    }

    /// The model-specific registers that can be saved and restored (KVM_GET_MSR_INDEX_LIST).
    public func msrIndices() throws(SystemError) -> [UInt32] {
        try indices(SWV_KVM_GET_MSR_INDEX_LIST, "KVM_GET_MSR_INDEX_LIST")
    }

    /// The model-specific registers that describe features of the host (KVM_GET_MSR_FEATURE_INDEX_LIST).
    public func msrFeatureIndices() throws(SystemError) -> [UInt32] {
        try indices(SWV_KVM_GET_MSR_FEATURE_INDEX_LIST, "KVM_GET_MSR_FEATURE_INDEX_LIST")
    }

    private func indices(_ request: swv_kvm_request, _ name: StaticString) throws(SystemError) -> [UInt32] {
        var capacity = 256
        while true {
            let list = KVMList<UInt32>(headerSize: MemoryLayout<kvm_msr_list>.size, capacity: capacity)
            do {
                let raw = descriptor.rawValue
                _ = try retryingOnInterrupt(name) { unsafe swv_kvm_structure(raw, request, list.base) }
                return list.elements(list.count)
            } catch {
                // Here the kernel says how many there are.
                guard error.errno.rawValue == E2BIG, list.count > capacity, list.count < 1 << 16 else { throw error }
                capacity = list.count
            }
        }
    }

    /// KVM_CREATE_VM; `type` 0 is the plain kind.
    func createVM(type: UInt) throws(SystemError) -> OwnedDescriptor {
        OwnedDescriptor(owning: try KVMRequest.value(descriptor.rawValue, SWV_KVM_CREATE_VM, "KVM_CREATE_VM", argument: type))
    }
}
