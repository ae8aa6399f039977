import Virtio
import Virtqueue

/// The registers that PCI and MMIO have in common (virtio 1.3, 4.1.4.3 and 4.2.2). A 64-bit register is two of 32 bits.
enum TransportRegister {
    case deviceFeatureSelect, deviceFeatures, driverFeatureSelect, driverFeatures
    case queueCount, status, configurationGeneration
    case queueSelect, queueMaxSize, queueSize, queueReady, queueReset
    case queueAddress(RingArea, high: Bool)
}

/// What a transport's lock protects.
struct TransportState: ~Copyable {
    var lifecycle = Lifecycle()
    var deviceFeatureSelect: UInt32 = 0
    var driverFeatureSelect: UInt32 = 0
    /// What the driver wrote; negotiated once FEATURES_OK is set.
    var driverFeatures: Features = []
    /// The driver wrote a feature bit above 63, none of which any device offers.
    var acceptedUnknownFeatures = false
    var queueSelect: UInt32 = 0
    var queues: [QueueConfiguration]
    var configuration = ConfigurationShadow()
    /// The queues of a device that was active when it fell asleep.
    var parked: QueueSet?

    init(maxSizes: [UInt16]) {
        queues = maxSizes.map { QueueConfiguration(maxSize: $0) }
    }

    /// The index of the queue that the registers show; nil when the driver selected one that does not exist.
    var selectedQueue: Int? {
        guard let index = Int(exactly: queueSelect), index < queues.count else { return nil }
        return index
    }

    /// Sets the registers to what they are after a reset. Lifecycle and generation live on.
    mutating func resetRegisters() {
        deviceFeatureSelect = 0
        driverFeatureSelect = 0
        driverFeatures = []
        acceptedUnknownFeatures = false
        queueSelect = 0
        for index in queues.indices { resetQueue(index) }
    }

    mutating func resetQueue(_ index: Int) {
        queues[index] = QueueConfiguration(maxSize: queues[index].maxSize)
    }
}

extension QueueConfiguration {
    /// Sets one half of the address of one part of the queue.
    mutating func setAddress(of area: RingArea, high: Bool, to half: UInt32) {
        let old = address(of: area)
        let new = high ? UInt64(half) << 32 | (old & 0xffff_ffff) : (old & ~0xffff_ffff) | UInt64(half)
        switch area {
        case .descriptor: descriptorArea = new
        case .driver: driverArea = new
        case .device: deviceArea = new
        }
    }
}
