import Host

/// How one transport tells its driver that something happened: what PCI and MMIO do differently.
///
/// The two `notify…` calls come from device threads, also while the transport's lock is held by whoever waits for these threads; they
/// must not take that lock. The other calls come with the lock held.
protocol TransportInterrupts: AnyObject, Sendable {
    /// Sends a used buffer notification.
    func notifyQueue(_ queue: Int)
    /// Sends a configuration change notification.
    func notifyConfiguration()
    /// Forgets everything pending, and which interrupt belongs to what (a device reset).
    func reset()
    /// Forgets which interrupt belongs to the queue (a virtqueue reset).
    func resetQueue(_ queue: Int)
    /// An event that does what `notifyQueue` does when somebody else signals it. Made at the first call, for a device whose data path is in
    /// another process; nil when the host lacks what it takes. Passed on by us and not by the kernel, a signal is dropped when `isReady` says
    /// no: the driver has reset the device since it was sent. `reset` forgets signals as well, and comes when `isReady` has begun to say so.
    func callEvent(_ queue: Int, isReady: @escaping @Sendable () -> Bool) -> EventFD?
}
