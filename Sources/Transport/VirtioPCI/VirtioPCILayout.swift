import Virtio

/// Where a virtio PCI function's structures are: the one table from which capabilities and register decoding follow.
///
/// BAR 0: 32-bit memory, 32 KiB, not prefetchable. Each structure has its own page, so that a hypervisor can trap them apart.
///
/// | offset | bytes  | structure                                               |
/// |--------|--------|---------------------------------------------------------|
/// | 0x0000 | 0x0040 | common configuration (virtio 1.3, 4.1.4.3)              |
/// | 0x1000 | 0x0001 | ISR status (4.1.4.5)                                    |
/// | 0x2000 | 0x0100 | device-specific configuration (4.1.4.6)                 |
/// | 0x3000 | 0x1000 | notification (4.1.4.4): 4 bytes per queue               |
/// | 0x4000 | 0x0040 | MSI-X pending bits                                      |
/// | 0x6000 | 0x2000 | MSI-X table: 16 bytes per vector                        |
///
/// BAR 2, only for a device with a shared memory region (4.1.4.7): 64-bit memory, prefetchable, the region's size rounded up to a power
/// of two.
enum VirtioPCILayout {
    static let registersBAR = 0
    static let registersSize: UInt64 = 0x8000
    static let sharedMemoryBAR = 2

    static let common: Range<UInt64> = 0x0000..<0x0040
    static let isr: Range<UInt64> = 0x1000..<0x1001
    static let device: Range<UInt64> = 0x2000..<0x2000 + UInt64(ConfigurationShadow.size)
    static let notify: Range<UInt64> = 0x3000..<0x4000
    static let pending: Range<UInt64> = 0x4000..<0x4000 + UInt64(MSIX.maxVectors / 8)
    static let table: Range<UInt64> = 0x6000..<0x6000 + UInt64(MSIX.maxVectors * MSIX.entrySize)

    /// Bytes between the doorbells of two queues (notify_off_multiplier, 4.1.4.4).
    static let notifyMultiplier: UInt64 = 4
    /// What the notification structure has room for.
    static let maxQueues = Int((notify.upperBound - notify.lowerBound) / notifyMultiplier)

    static let vendor: UInt16 = 0x1af4
    /// 1 or higher says that the device is not transitional (4.1.2.1).
    static let revision: UInt8 = 1

    static func identity(of type: DeviceType) -> PCIConfigurationSpace.Identity {
        let device = 0x1040 &+ type.rawValue
        return PCIConfigurationSpace.Identity(
            vendor: vendor, device: device, revision: revision, classCode: classCode(of: type), subsystemVendor: vendor,
            subsystem: device)
    }

    private static func classCode(of type: DeviceType) -> UInt32 {
        switch type {
        case .network: 0x02_0000  // network controller, Ethernet
        case .block: 0x01_8000  // mass storage controller, other
        case .console: 0x07_8000  // communication controller, other
        default: 0xff_0000  // fits no class
        }
    }
}

/// The capabilities of a virtio PCI function (4.1.4).
struct VirtioPCICapabilities {
    /// Where the PCI configuration access capability is (4.1.4.9).
    let access: Int
    /// Where MSI-X message control is.
    let msixControl: Int

    static let vendorSpecific: UInt8 = 0x09
    static let msix: UInt8 = 0x11
    static let msixEnable: UInt32 = 1 << 15
    static let msixFunctionMask: UInt32 = 1 << 14

    /// Offsets in the PCI configuration access capability.
    static let accessBAR = 4
    static let accessOffset = 8
    static let accessLength = 12
    static let accessData = 16

    private enum Kind: UInt8 {
        case common = 1
        case notify = 2
        case isr = 3
        case device = 4
        case access = 5
        case sharedMemory = 8
    }

    init(vectorCount: Int, sharedMemory: SharedMemoryRequest?, in space: inout PCIConfigurationSpace) {
        typealias Layout = VirtioPCILayout
        let control = UInt16(truncatingIfNeeded: vectorCount - 1)
        let msix = space.addCapability(
            id: Self.msix,
            body: control.bytes + UInt32(truncatingIfNeeded: Layout.table.lowerBound | UInt64(Layout.registersBAR)).bytes
                + UInt32(truncatingIfNeeded: Layout.pending.lowerBound | UInt64(Layout.registersBAR)).bytes,
            bodyWritable: [0, 0xc0])
        msixControl = msix + 2
        Self.add(.common, at: Layout.common, to: &space)
        Self.add(.notify, at: Layout.notify, to: &space, extra: UInt32(truncatingIfNeeded: Layout.notifyMultiplier).bytes)
        Self.add(.isr, at: Layout.isr, to: &space)
        Self.add(.device, at: Layout.device, to: &space)
        if let sharedMemory {
            Self.add(
                .sharedMemory, bar: Layout.sharedMemoryBAR, id: sharedMemory.id, at: 0..<sharedMemory.size, to: &space,
                extra: UInt32(0).bytes + UInt32(truncatingIfNeeded: sharedMemory.size >> 32).bytes)
        }
        // bar, offset, length and data are the driver's.
        access = Self.add(
            .access, at: 0..<0, to: &space, extra: UInt32(0).bytes,
            writable: [0, 0, 0xff, 0, 0, 0] + Array(repeating: 0xff, count: 12))
    }

    @discardableResult
    private static func add(
        _ kind: Kind, bar: Int = VirtioPCILayout.registersBAR, id: UInt8 = 0, at range: Range<UInt64>,
        to space: inout PCIConfigurationSpace,
        extra: [UInt8] = [], writable: [UInt8] = []
    ) -> Int {
        let length = UInt8(truncatingIfNeeded: 16 + extra.count)
        let place =
            UInt32(truncatingIfNeeded: range.lowerBound).bytes + UInt32(truncatingIfNeeded: range.upperBound - range.lowerBound).bytes
        let body = [length, kind.rawValue, UInt8(truncatingIfNeeded: bar), id, 0, 0] + place + extra
        return space.addCapability(id: vendorSpecific, body: body, bodyWritable: writable)
    }
}

extension FixedWidthInteger {
    /// The bytes of the integer, lowest first.
    fileprivate var bytes: [UInt8] { (0..<Self.bitWidth / 8).map { UInt8(truncatingIfNeeded: self >> Self($0 * 8)) } }
}
