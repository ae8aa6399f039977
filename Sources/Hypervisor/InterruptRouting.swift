public import Host

/// A message-signalled interrupt: where the write goes and what it writes (PCI 3.0, 6.8; on x86 an address in 0xFEEx_xxxx).
public struct MSIMessage: Sendable, Hashable {
    /// The message address.
    public var address: UInt64
    /// The message data.
    public var data: UInt32

    /// A message.
    public init(address: UInt64, data: UInt32) {
        self.address = address
        self.data = data
    }
}

/// The way from an eventfd to a guest interrupt: KVM's GSI routing table and irqfds (KVM_SET_GSI_ROUTING, KVM_IRQFD).
///
/// A GSI is a number in that table; behind each stands at most one message. Implemented by `KVMInterruptRouter`, and by a recorder in
/// tests.
public protocol InterruptRouting: AnyObject, Sendable {
    /// Reserves a GSI above the IOAPIC's pins; it leads nowhere until a message is set.
    func allocateGSI() throws(SystemError) -> UInt32
    /// Gives a GSI back, with its message.
    func releaseGSI(_ gsi: UInt32)
    /// Sets or (with nil) removes the message behind a GSI. Does nothing when it is already so.
    func setMessage(_ message: MSIMessage?, for gsi: UInt32) throws(SystemError)
    /// From now on a signal of `event` injects the GSI's message. An event that was signalled before injects once, and is drained: KVM
    /// leaves the counter readable otherwise, and pending bits would lie.
    func attach(_ event: EventFD, to gsi: UInt32) throws(SystemError)
    /// Undoes `attach`; from now on signals stay in the eventfd.
    func detach(_ event: EventFD, from gsi: UInt32) throws(SystemError)
    /// Injects a message once (KVM_SIGNAL_MSI).
    func send(_ message: MSIMessage) throws(SystemError)
}

/// A level-triggered input of an interrupt controller, shared by whoever holds it.
public protocol InterruptLine: AnyObject, Sendable {
    /// Raises or lowers the line.
    func setLevel(_ high: Bool)
}
