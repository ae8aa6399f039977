public import Host

/// Where a device's notifications go: the transport that shows the device to the guest implements it.
///
/// The three calls come from device threads. They must not wait for the transport's lock, which is held while a device is being
/// stopped: whoever stops a worker waits for exactly these threads.
public protocol InterruptSink: AnyObject, Sendable {
    /// Sends a used buffer notification for the queue (virtio 1.3, 2.7.7, 2.8.9.2). Only the thread that has the queue calls it.
    func queueUsed(_ queue: Int)
    /// Sends a configuration change notification, after making the change visible through the generation count (2.5.1).
    func configurationChanged()
    /// Sets DEVICE_NEEDS_RESET, and sends a configuration change notification if the driver is ready (2.1.2).
    func deviceNeedsReset()
    /// An event that, signalled, does what `queueUsed` does, whoever signals it: for a device whose data path is in another process. The same
    /// one for the queue's whole life; nil where there is none. The transport's lock may be held.
    func callEvent(_ queue: Int) -> EventFD?
}

extension InterruptSink {
    /// None.
    public func callEvent(_ queue: Int) -> EventFD? { nil }
}

/// What a device uses to reach its driver.
public struct Interrupt: Sendable {
    private let sink: any InterruptSink

    /// Notifications go to `sink`.
    public init(_ sink: any InterruptSink) { self.sink = sink }

    /// Tells the driver that the queue has used buffers. Call it only when `DeviceQueue.publish` said so, on the same thread.
    public func signalQueue(_ index: Int) { sink.queueUsed(index) }

    /// An event with which another process can do what `signalQueue` does; nil where there is none.
    public func callEvent(_ index: Int) -> EventFD? { sink.callEvent(index) }

    /// Tells the driver that the configuration space has changed.
    public func signalConfigurationChange() { sink.configurationChanged() }

    /// Gives up on the device until the driver resets it: the driver broke a rule, or the device cannot go on.
    public func needsReset() { sink.deviceNeedsReset() }
}
