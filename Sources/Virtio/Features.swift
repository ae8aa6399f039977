public import Virtqueue

/// A set of feature bits (virtio 1.3, section 2.2). Bits 0–23 and 50–127 belong to the device type, 24–49 to rings and transports.
public struct Features: OptionSet, Sendable, Hashable {
    /// The bits; bit n of the specification is bit n here. No bit above 63 is defined for the devices of this project.
    public let rawValue: UInt64
    /// Wraps feature bits.
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    /// The set with the one bit of that number (0…63).
    public init(bit: UInt8) { rawValue = bit < 64 ? 1 << UInt64(bit) : 0 }

    /// VIRTIO_F_INDIRECT_DESC (28).
    public static let indirectDescriptors = Features(bit: 28)
    /// VIRTIO_F_EVENT_IDX (29).
    public static let eventIndex = Features(bit: 29)
    /// VIRTIO_F_VERSION_1 (32).
    public static let version1 = Features(bit: 32)
    /// VIRTIO_F_ACCESS_PLATFORM (33).
    public static let accessPlatform = Features(bit: 33)
    /// VIRTIO_F_RING_PACKED (34).
    public static let ringPacked = Features(bit: 34)
    /// VIRTIO_F_RING_RESET (40).
    public static let ringReset = Features(bit: 40)

    /// What every device of ours offers; RING_PACKED comes on top by configuration.
    public static let ours: Features = [.version1, .indirectDescriptors, .eventIndex, .ringReset]

    /// What of a negotiated set concerns the layout of rings.
    public var ring: RingFeatures { RingFeatures(featureBits: rawValue) }
}

/// The device status field (virtio 1.3, section 2.1).
public struct DeviceStatus: OptionSet, Sendable, Hashable {
    /// The bits of the field.
    public let rawValue: UInt8
    /// Wraps the field.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// ACKNOWLEDGE (1): the guest has found the device.
    public static let acknowledge = DeviceStatus(rawValue: 1)
    /// DRIVER (2): the guest knows how to drive it.
    public static let driver = DeviceStatus(rawValue: 2)
    /// DRIVER_OK (4): the driver is ready.
    public static let driverOK = DeviceStatus(rawValue: 4)
    /// FEATURES_OK (8): feature negotiation is complete.
    public static let featuresOK = DeviceStatus(rawValue: 8)
    /// DEVICE_NEEDS_RESET (64): the device has met an error from which it cannot recover.
    public static let needsReset = DeviceStatus(rawValue: 64)
    /// FAILED (128): the guest has given up on the device.
    public static let failed = DeviceStatus(rawValue: 128)
}
