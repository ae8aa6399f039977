/// What the kernel's side of a vDPA device can do beyond the first version of the interface (VHOST_BACKEND_F_…, linux/vhost_types.h).
public struct BackendFeatures: OptionSet, Sendable, Hashable {
    /// The word of VHOST_GET_BACKEND_FEATURES: bit n here is the header's number n.
    public let rawValue: UInt64
    /// Wraps the word.
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// IOTLB_MSG_V2 (1): messages to the I/O page table have the form that names an address space.
    public static let tableMessages2 = BackendFeatures(rawValue: 1 << 1)
    /// IOTLB_BATCH (2): several changes to the I/O page table take effect at once.
    public static let batches = BackendFeatures(rawValue: 1 << 2)
    /// IOTLB_ASID (3): several address spaces.
    public static let addressSpaces = BackendFeatures(rawValue: 1 << 3)
    /// SUSPEND (4): the device can stop and say where its queues stand.
    public static let suspend = BackendFeatures(rawValue: 1 << 4)
    /// RESUME (5): and go on after that.
    public static let resume = BackendFeatures(rawValue: 1 << 5)
    /// ENABLE_AFTER_DRIVER_OK (6): queues can be enabled when the device runs.
    public static let enableWhileRunning = BackendFeatures(rawValue: 1 << 6)
    /// DESC_ASID (7): descriptor areas can have an address space of their own.
    public static let descriptorAddressSpaces = BackendFeatures(rawValue: 1 << 7)
    /// IOTLB_PERSIST (8): a reset leaves the I/O page table as it is.
    public static let persistentTable = BackendFeatures(rawValue: 1 << 8)

    /// All that this project has a use for.
    public static let known: BackendFeatures = [
        .tableMessages2, .batches, .addressSpaces, .suspend, .resume, .enableWhileRunning, .persistentTable,
    ]
}
