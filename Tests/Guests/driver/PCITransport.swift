import Virtqueue

/// A PCI function on bus 0, through configuration mechanism #1 (PCI 3.0, 3.2.2.3.2).
struct PCIFunction {
    private static let addressPort: UInt16 = 0xcf8
    private static let dataPort: UInt16 = 0xcfc
    static let slots: UInt32 = 32

    let slot: UInt32

    /// The group of four bytes at `offset`, a multiple of 4.
    func read(_ offset: UInt32) -> UInt32 {
        guest_out32(Self.addressPort, 0x8000_0000 | slot << 11 | offset & 0xfc)
        return guest_in32(Self.dataPort)
    }

    func write(_ value: UInt32, _ offset: UInt32) {
        guest_out32(Self.addressPort, 0x8000_0000 | slot << 11 | offset & 0xfc)
        guest_out32(Self.dataPort, value)
    }

    /// One byte of it.
    func byte(_ offset: UInt32) -> UInt32 { read(offset) >> (8 * (offset & 3)) & 0xff }
}

/// A device behind a PCI function (virtio 1.3, 4.1), without interrupts.
struct PCITransport: DriverTransport {
    private static let vendor: UInt32 = 0x1af4
    /// The device ID of type 0 (4.1.2).
    private static let firstDevice: UInt32 = 0x1040

    private enum Header {
        static let identity: UInt32 = 0x00
        static let command: UInt32 = 0x04
        static let firstBAR: UInt32 = 0x10
        static let capabilities: UInt32 = 0x34
        /// Memory space, bus master, interrupt disable.
        static let commandBits: UInt32 = 1 << 1 | 1 << 2 | 1 << 10
        static let vendorSpecific: UInt32 = 0x09
    }

    /// cfg_type of a capability (4.1.4).
    private enum Structure {
        static let common: UInt32 = 1
        static let notify: UInt32 = 2
        static let interrupt: UInt32 = 3
        static let device: UInt32 = 4
    }

    /// Fields of the common configuration (4.1.4.3).
    private enum Common {
        static let deviceFeatureSelect: UInt = 0x00
        static let deviceFeatures: UInt = 0x04
        static let driverFeatureSelect: UInt = 0x08
        static let driverFeatures: UInt = 0x0c
        static let queueCount: UInt = 0x12
        static let status: UInt = 0x14
        static let generation: UInt = 0x15
        static let queueSelect: UInt = 0x16
        static let queueSize: UInt = 0x18
        static let queueEnable: UInt = 0x1c
        static let queueNotifyOffset: UInt = 0x1e
        static let descriptorArea: UInt = 0x20
        static let driverArea: UInt = 0x28
        static let deviceArea: UInt = 0x30
        static let queueReset: UInt = 0x3a
    }

    /// VIRTIO_F_RING_RESET.
    private static let ringReset: UInt64 = 1 << 40
    private static let doorbellCount = 4

    let deviceType: UInt16
    private var common: UInt = 0
    private var device: UInt = 0
    private var interrupt: UInt = 0
    /// Where to notify each queue: read once, because finding it out costs more than the notification.
    private var doorbells = InlineArray<4, UInt>(repeating: 0)
    private var canResetQueues = false

    /// The device that is `function`; nil when it is none of virtio's, or its structures are not all there.
    init?(_ function: PCIFunction) {
        let identity = function.read(Header.identity)
        guard identity & 0xffff == Self.vendor, identity >> 16 > Self.firstDevice else { return nil }
        deviceType = UInt16(truncatingIfNeeded: identity >> 16 - Self.firstDevice)
        var notify: UInt = 0
        var multiplier: UInt = 0
        var capability = function.byte(Header.capabilities)
        var left = 48
        while capability != 0, left > 0 {
            if function.byte(capability) == Header.vendorSpecific, let place = Self.place(function, capability) {
                switch function.byte(capability + 3) {
                case Structure.common: common = place
                case Structure.interrupt: interrupt = place
                case Structure.device: device = place
                case Structure.notify:
                    notify = place
                    multiplier = UInt(function.read(capability + 16))
                default: break
                }
            }
            capability = function.byte(capability + 1)
            left -= 1
        }
        guard common != 0, device != 0, interrupt != 0, notify != 0 else { return nil }
        function.write(function.read(Header.command) & 0xffff | Header.commandBits, Header.command)
        let count = Int(guest_load16(common + Common.queueCount))
        for queue in 0..<min(count, Self.doorbellCount) {
            guest_store16(common + Common.queueSelect, UInt16(truncatingIfNeeded: queue))
            doorbells[queue] = notify + UInt(guest_load16(common + Common.queueNotifyOffset)) * multiplier
        }
    }

    /// Where a structure is in memory (4.1.4, struct virtio_pci_cap); nil when it is not in a memory BAR below 4 GiB.
    private static func place(_ function: PCIFunction, _ capability: UInt32) -> UInt? {
        let bar = function.byte(capability + 4)
        guard bar < 6 else { return nil }
        let base = function.read(Header.firstBAR + 4 * bar)
        guard base & 1 == 0, base & ~0xf != 0 else { return nil }
        return UInt(base & ~0xf) + UInt(function.read(capability + 8))
    }

    private func select(_ queue: UInt16) { guest_store16(common + Common.queueSelect, queue) }

    var deviceFeatures: UInt64 {
        guest_store32(common + Common.deviceFeatureSelect, 1)
        let high = UInt64(guest_load32(common + Common.deviceFeatures))
        guest_store32(common + Common.deviceFeatureSelect, 0)
        return high << 32 | UInt64(guest_load32(common + Common.deviceFeatures))
    }

    mutating func setDriverFeatures(_ features: UInt64) {
        for half: UInt32 in 0..<2 {
            guest_store32(common + Common.driverFeatureSelect, half)
            guest_store32(common + Common.driverFeatures, UInt32(truncatingIfNeeded: features >> (32 * UInt64(half))))
        }
        canResetQueues = features & Self.ringReset != 0
    }

    var status: UInt8 {
        get { guest_load8(common + Common.status) }
        nonmutating set {
            guest_store8(common + Common.status, newValue)
            while newValue == 0, status != 0 {}
        }
    }

    func maxQueueSize(_ queue: UInt16) -> UInt16 {
        select(queue)
        return guest_load16(common + Common.queueSize)
    }

    func isQueueUsed(_ queue: UInt16) -> Bool {
        select(queue)
        return guest_load16(common + Common.queueEnable) != 0
    }

    func setQueue(_ queue: UInt16, _ configuration: QueueConfiguration) -> Bool {
        guard Int(queue) < Self.doorbellCount else { return false }
        select(queue)
        guest_store16(common + Common.queueSize, configuration.size)
        GuestRegisters.write(configuration.descriptorArea, common + Common.descriptorArea)
        GuestRegisters.write(configuration.driverArea, common + Common.driverArea)
        GuestRegisters.write(configuration.deviceArea, common + Common.deviceArea)
        guest_store16(common + Common.queueEnable, 1)
        return guest_load16(common + Common.queueEnable) == 1
    }

    /// Resets the queue, and if that was not negotiated the device (2.6.1.2; 4.1.4.3.2 forbids to write 0 to queue_enable).
    func unsetQueue(_ queue: UInt16) {
        guard canResetQueues else {
            status = 0
            return
        }
        select(queue)
        guest_store16(common + Common.queueReset, 1)
        while guest_load16(common + Common.queueReset) != 0 {}
    }

    func notify(_ queue: UInt16) { guest_store16(doorbells[Int(queue) & 3], queue) }

    func configuration<T: FixedWidthInteger>(at offset: Int, as type: T.Type) -> T { GuestRegisters.read(device + UInt(offset)) }

    func setConfiguration<T: FixedWidthInteger>(_ value: T, at offset: Int) { GuestRegisters.write(value, device + UInt(offset)) }

    var configurationGeneration: UInt32 { UInt32(guest_load8(common + Common.generation)) }

    /// Reading acknowledges (4.1.4.5).
    func acknowledgeInterrupt() -> UInt8 { guest_load8(interrupt) }
}
