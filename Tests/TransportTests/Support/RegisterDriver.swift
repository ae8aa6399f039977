import Transport
import Virtio
import Virtqueue

/// A guest's view of a virtio device, register by register; the same for both transports, so that the same tests run on both.
protocol RegisterDriver: AnyObject {
    var status: UInt32 { get set }
    var generation: UInt32 { get }
    /// The 32 feature bits from 32·index on.
    func deviceFeatures(_ index: UInt32) -> UInt32
    func writeDriverFeatures(_ bits: UInt32, _ index: UInt32)
    func select(_ queue: UInt32)
    var queueMaxSize: UInt32 { get }
    func setQueueSize(_ size: UInt32)
    func setArea(_ area: RingArea, _ address: UInt64)
    var queueEnabled: UInt32 { get set }
    var queueReset: UInt32 { get set }
    func notify(_ queue: Int)
    func readConfiguration(_ offset: UInt64, _ width: Int) -> UInt64
    func writeConfiguration(_ value: UInt64, _ offset: UInt64, _ width: Int)
    /// Whether the interrupt came (and, when it is an edge, forgets it), without MSI-X.
    func hasInterrupt() -> Bool
    /// Reads and acknowledges why.
    func interruptCauses() -> UInt32
    /// Where the registers are, and what a wild access may reach.
    var registers: Range<UInt64> { get }
}

extension RegisterDriver {
    func features() -> UInt64 { UInt64(deviceFeatures(0)) | UInt64(deviceFeatures(1)) << 32 }

    func accept(_ features: Features) {
        writeDriverFeatures(UInt32(truncatingIfNeeded: features.rawValue), 0)
        writeDriverFeatures(UInt32(truncatingIfNeeded: features.rawValue >> 32), 1)
    }

    /// Steps 1 to 6 of the initialisation sequence (3.1.1); whether FEATURES_OK held.
    @discardableResult
    func negotiate(_ features: Features = [.version1, .ringReset]) -> Bool {
        status = 0
        status = 1
        status = 3
        accept(features)
        status = 11
        return status & 8 != 0
    }

    func setUpQueue(_ index: Int, size: UInt16) {
        select(UInt32(index))
        setQueueSize(UInt32(size))
        for area in RingArea.allCases { setArea(area, Layout.area(area, queue: index)) }
        queueEnabled = 1
    }

    /// The whole sequence, with both queues.
    func start(_ features: Features = [.version1, .ringReset], sizes: [UInt16] = [8, 8]) {
        negotiate(features)
        for (index, size) in sizes.enumerated() { setUpQueue(index, size: size) }
        status = 15
    }
}

/// Where the fake guest keeps its rings and buffers.
enum Layout {
    static let ram: Range<UInt64> = 0..<0x10_0000
    static let buffers: UInt64 = 0x8_0000

    static func area(_ area: RingArea, queue: Int) -> UInt64 {
        let base = 0x1_0000 + UInt64(queue) * 0x4000
        switch area {
        case .descriptor: return base
        case .driver: return base + 0x1000
        case .device: return base + 0x2000
        }
    }

    static func configuration(queue: Int, size: UInt16, maxSize: UInt16) -> QueueConfiguration {
        var configuration = QueueConfiguration(maxSize: maxSize)
        configuration.size = size
        configuration.descriptorArea = area(.descriptor, queue: queue)
        configuration.driverArea = area(.driver, queue: queue)
        configuration.deviceArea = area(.device, queue: queue)
        return configuration
    }
}
