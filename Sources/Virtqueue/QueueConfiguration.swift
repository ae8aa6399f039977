/// The registers of one queue as the driver programs them. The transport owns them; a `DeviceQueue` is made from a copy of them.
public struct QueueConfiguration: Sendable, Equatable {
    /// The number of descriptors, 1 to `maxSize`; a power of two for split rings.
    public var size: UInt16
    /// The largest size that the device offers.
    public let maxSize: UInt16
    /// Whether the driver enabled the queue.
    public var ready: Bool
    /// The address of the descriptor table (split) or descriptor ring (packed).
    public var descriptorArea: UInt64
    /// The address of the available ring (split) or of the driver's event suppression structure (packed).
    public var driverArea: UInt64
    /// The address of the used ring (split) or of the device's event suppression structure (packed).
    public var deviceArea: UInt64

    /// The registers after a reset: the size stands at its maximum, everything else is zero.
    public init(maxSize: UInt16) {
        self.size = maxSize
        self.maxSize = maxSize
        self.ready = false
        self.descriptorArea = 0
        self.driverArea = 0
        self.deviceArea = 0
    }

    /// The address that the driver gave for one part of the queue.
    @inlinable
    public func address(of area: RingArea) -> UInt64 {
        switch area {
        case .descriptor: descriptorArea
        case .driver: driverArea
        case .device: deviceArea
        }
    }
}

/// Where a queue stands: what a snapshot keeps of it, and what vhost calls the vring base.
public struct QueuePosition: Sendable, Equatable {
    /// Split: the free-running index of the next available entry. Packed: the slot of the next available descriptor, below the size.
    public var available: UInt16
    /// Packed: the wrap counter that goes with `available`. Split: always true.
    public var availableWrap: Bool
    /// Split: the free-running index of the next used entry. Packed: the slot of the next used descriptor, below the size.
    public var used: UInt16
    /// Packed: the wrap counter that goes with `used`. Split: always true.
    public var usedWrap: Bool

    /// A position from its parts.
    public init(available: UInt16, availableWrap: Bool = true, used: UInt16, usedWrap: Bool = true) {
        self.available = available
        self.availableWrap = availableWrap
        self.used = used
        self.usedWrap = usedWrap
    }

    /// Where a queue stands after a reset (both wrap counters start at 1, 2.8.1).
    public static var initial: QueuePosition { QueuePosition(available: 0, used: 0) }
}
