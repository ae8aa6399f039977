public import Host
public import Virtqueue

// Rings (virtio 1.3, 2.6). Sizes, addresses and positions are set before DRIVER_OK; events at any time.

extension VhostVdpa {
    /// The number of queues; nil where the kernel is too old to tell (before 5.18).
    public func queueCount() throws(VdpaError) -> Int? {
        do throws(SystemError) { return Int(clamping: try kernel.queueCount()) } catch {
            if error.errno == .notTerminal || error.errno == .invalidArgument || error.errno == .noBuffers { return nil }
            throw VdpaError(error)
        }
    }

    /// The largest size of a queue.
    public func largestQueueSize() throws(VdpaError) -> UInt16 {
        try asked { () throws(SystemError) in try kernel.largestQueueSize() }
    }

    /// Sets the number of descriptors: a power of two, at most `largestQueueSize`.
    public func setQueueSize(_ index: Int, _ size: UInt16) throws(VdpaError) {
        let number = try queue(index)
        guard size > 0, size & (size &- 1) == 0 else {
            throw VdpaError(.outOfRange, "A queue of \(size) descriptors cannot be; expected a power of two.")
        }
        try asked { () throws(SystemError) in try kernel.setQueueSize(number, UInt32(size)) }
    }

    /// Says where the three parts lie, in addresses of the I/O page table.
    public func setQueueAddresses(
        _ index: Int, descriptorArea: UInt64, driverArea: UInt64, deviceArea: UInt64
    ) throws(VdpaError) {
        let number = try queue(index)
        try asked { () throws(SystemError) in
            try kernel.setQueueAddresses(number, descriptorArea: descriptorArea, driverArea: driverArea, deviceArea: deviceArea)
        }
    }

    /// Says where a queue stands; `.initial` is right for a fresh one of either format. The features must have been set before: the kernel
    /// reads the word by them.
    public func setQueuePosition(_ index: Int, _ position: QueuePosition, _ format: RingFormat) throws(VdpaError) {
        let number = try queue(index)
        try asked { () throws(SystemError) in try kernel.setQueueBase(number, position.vringBase(format)) }
    }

    /// Where a queue stands: to be trusted after `suspend` only. A split ring's used index is not the kernel's to tell; it stands in the
    /// ring, and `used` is taken for it.
    public func queuePosition(_ index: Int, _ format: RingFormat, used: UInt16) throws(VdpaError) -> QueuePosition {
        let number = try queue(index)
        return QueuePosition(vringBase: try asked { () throws(SystemError) in try kernel.queueBase(number) }, format, used: used)
    }

    /// The event that the driver signals for available buffers; nil: none.
    public func setKick(_ index: Int, _ event: EventFD?) throws(VdpaError) {
        let number = try queue(index)
        try asked { () throws(SystemError) in try kernel.setQueueKick(number, event) }
    }

    /// The event that the device signals for used buffers; nil: none.
    public func setCall(_ index: Int, _ event: EventFD?) throws(VdpaError) {
        let number = try queue(index)
        try asked { () throws(SystemError) in try kernel.setQueueCall(number, event) }
    }

    /// The event that the device signals when something is wrong with a queue; nil: none.
    public func setError(_ index: Int, _ event: EventFD?) throws(VdpaError) {
        let number = try queue(index)
        try asked { () throws(SystemError) in try kernel.setQueueError(number, event) }
    }

    /// Enables a queue: before DRIVER_OK, or at any time where `backendFeatures` has `enableWhileRunning`.
    public func setEnabled(_ index: Int, _ isEnabled: Bool = true) throws(VdpaError) {
        let number = try queue(index)
        try asked { () throws(SystemError) in try kernel.setQueueEnabled(number, isEnabled) }
    }

    func queue(_ index: Int) throws(VdpaError) -> UInt32 {
        guard let number = UInt32(exactly: index) else { throw VdpaError(.outOfRange, "There is no queue \(index).") }
        return number
    }
}
