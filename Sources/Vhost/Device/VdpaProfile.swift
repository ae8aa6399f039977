public import Virtio

/// What is wanted of a vDPA device that is to be a guest's.
public struct VdpaProfile: Sendable {
    /// The kind of device that it must be.
    public let deviceType: DeviceType
    /// A short name, for log lines and thread names.
    public let label: String
    /// The number of queues that the guest is to have, at least 1; nil: all that the device has.
    public let queueCount: Int?
    /// The most entries of a queue, a power of two.
    public let queueSize: UInt16
    /// Features that are not offered although the device has them.
    public var withheld: Features = []
    /// Whether a driver that stands still soon has nothing left in any queue: true for disks, false for what also waits for the world outside,
    /// like a network interface that has buffers to receive into.
    public var drains: Bool
    /// How long the device may take to finish what it has begun, in milliseconds.
    public var patience: Int64 = 10_000

    /// A device of a kind.
    public init(_ deviceType: DeviceType, label: String, queueCount: Int?, queueSize: UInt16, drains: Bool) {
        self.deviceType = deviceType
        self.label = label
        self.queueCount = queueCount
        self.queueSize = queueSize
        self.drains = drains
    }
}
