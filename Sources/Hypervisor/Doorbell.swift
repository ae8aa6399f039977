public import Host

/// A guest write that becomes a signal of an eventfd without an exit to user space (KVM_IOEVENTFD).
public struct Doorbell: Sendable, Hashable {
    /// Guest address space of the write.
    public enum Space: Sendable, Hashable {
        /// Memory-mapped I/O.
        case mmio
        /// Port I/O.
        case pio
    }
    /// The address space.
    public let space: Space
    /// The address of the write.
    public let address: UInt64
    /// Bytes written: 1, 2, 4 or 8; 0 matches a write of any width (MMIO only, and the fastest).
    public let width: UInt32
    /// The value that must be written; nil matches any.
    public let match: UInt64?

    /// A doorbell.
    public init(space: Space, address: UInt64, width: UInt32, match: UInt64?) {
        self.space = space
        self.address = address
        self.width = width
        self.match = match
    }
}

/// Registers doorbells with the hypervisor; a recorder stands in for it in tests.
public protocol DoorbellRegistry: AnyObject, Sendable {
    /// From now on the write signals `event`.
    func add(_ doorbell: Doorbell, event: EventFD) throws(SystemError)
    /// Undoes `add`.
    func remove(_ doorbell: Doorbell, event: EventFD) throws(SystemError)
}
