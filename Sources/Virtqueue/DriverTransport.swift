/// A driver's way to its device, whatever lies between them (virtio 1.3, chapter 4): registers in memory, a PCI function, a socket.
///
/// Conforming values are handles: queues and drivers keep copies of one, and all of them mean the same device.
public protocol DriverTransport {
    /// The device ID (chapter 5); 0 is none.
    var deviceType: UInt16 { get }

    /// The feature bits that the device offers (2.2).
    var deviceFeatures: UInt64 { get }

    /// Tells the device which feature bits the driver accepts.
    mutating func setDriverFeatures(_ features: UInt64)

    /// The device status field (2.1). Writing 0 resets the device, and returns when the field reads 0 again.
    var status: UInt8 { get nonmutating set }

    /// The largest size that queue `queue` can have; 0 when there is no such queue.
    func maxQueueSize(_ queue: UInt16) -> UInt16

    /// Whether the queue is in use.
    func isQueueUsed(_ queue: UInt16) -> Bool

    /// Hands the queue to the device, with the size and the addresses that stand in `configuration`; false when the device does not take it.
    func setQueue(_ queue: UInt16, _ configuration: QueueConfiguration) -> Bool

    /// Takes the queue back. When this returns, the device uses neither its rings nor its buffers. A transport that cannot take back one
    /// queue alone (2.6.1) resets the device.
    func unsetQueue(_ queue: UInt16)

    /// Sends an available buffer notification (2.7.13.4, 2.8.21.3).
    func notify(_ queue: UInt16)

    /// A little-endian field of the device's configuration space (2.5), 1, 2, 4 or 8 bytes wide. One of 8 bytes may be read in two halves.
    func configuration<T: FixedWidthInteger>(at offset: Int, as type: T.Type) -> T

    /// Writes a field of the configuration space.
    func setConfiguration<T: FixedWidthInteger>(_ value: T, at offset: Int)

    /// Changes with each change of the configuration space that a driver could have seen in the middle (2.5.1).
    var configurationGeneration: UInt32 { get }

    /// Reads why the device has interrupted, and acknowledges it: bit 0 for used buffers, bit 1 for a configuration change (4.1.4.5, 4.2.2).
    func acknowledgeInterrupt() -> UInt8
}

/// What keeps a driver from starting its device.
public enum NegotiationError: Error, Equatable, Sendable {
    /// The device does not offer these bits, without which the driver cannot work.
    case missingFeatures(UInt64)
    /// The device does not accept the driver's choice: FEATURES_OK did not stay set (3.1.1, step 6).
    case refused(UInt64)
    /// The device asked for a reset (DEVICE_NEEDS_RESET) before it was started.
    case needsReset
}

/// Bits of the device status field (2.1).
@usableFromInline
enum StatusBit {
    @usableFromInline static var acknowledge: UInt8 { 1 }
    @usableFromInline static var driver: UInt8 { 2 }
    @usableFromInline static var driverOK: UInt8 { 4 }
    @usableFromInline static var featuresOK: UInt8 { 8 }
    @usableFromInline static var needsReset: UInt8 { 64 }
    @usableFromInline static var failed: UInt8 { 128 }
}

extension DriverTransport {
    /// Resets the device and agrees with it on features: steps 1 to 6 of its initialisation (3.1.1). Then come its queues, then `finish`.
    ///
    /// - Parameters:
    ///   - wanted: the bits that the driver uses where they are offered.
    ///   - required: those of them without which it does not work.
    /// - Returns: the bits that both sides agreed on.
    /// - Throws: `NegotiationError`; the device then has FAILED set.
    @inlinable
    public mutating func begin(wanted: UInt64, required: UInt64 = 0) throws(NegotiationError) -> UInt64 {
        status = 0
        status = StatusBit.acknowledge
        status = StatusBit.acknowledge | StatusBit.driver
        let offered = deviceFeatures
        let missing = required & ~offered
        guard missing == 0 else {
            giveUp()
            throw .missingFeatures(missing)
        }
        let accepted = (wanted | required) & offered
        setDriverFeatures(accepted)
        status = StatusBit.acknowledge | StatusBit.driver | StatusBit.featuresOK
        guard status & StatusBit.featuresOK != 0 else {
            giveUp()
            throw .refused(accepted)
        }
        return accepted
    }

    /// Starts the device (DRIVER_OK): step 8 of its initialisation.
    @inlinable
    public func finish() throws(NegotiationError) {
        status = status | StatusBit.driverOK
        guard status & StatusBit.needsReset == 0 else { throw .needsReset }
    }

    /// Whether the device waits for a reset (2.1.2).
    @inlinable public var needsReset: Bool { status & StatusBit.needsReset != 0 }

    /// Tells the device that the driver has given up on it (2.1, FAILED).
    @inlinable
    public func giveUp() { status = status | StatusBit.failed }

    /// Reads several fields of the configuration space as they were at one moment (2.5.3): again, if they changed meanwhile. A device that
    /// never stops changing gets its last word after a hundred times.
    @inlinable
    public func readConsistently<Result>(_ body: (borrowing Self) -> Result) -> Result {
        for _ in 0..<99 {
            let before = configurationGeneration
            let result = body(self)
            if configurationGeneration == before { return result }
        }
        return body(self)
    }
}

extension RingFeatures {
    /// What of negotiated feature bits concerns the layout of rings (6): INDIRECT_DESC (28), EVENT_IDX (29), RING_PACKED (34).
    @inlinable
    public init(featureBits bits: UInt64) {
        self.init(format: bits >> 34 & 1 == 1 ? .packed : .split, indirect: bits >> 28 & 1 == 1, eventIndex: bits >> 29 & 1 == 1)
    }

    /// The same as feature bits.
    @inlinable public var featureBits: UInt64 {
        (indirect ? 1 << 28 : 0) | (eventIndex ? 1 << 29 : 0) | (format == .packed ? 1 << 34 : 0)
    }
}
