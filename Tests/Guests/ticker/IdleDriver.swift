/// The driver of a virtio-mmio device that asks nothing of it: brings it to life (virtio 1.3, 3.1.1 and 4.2.3) with queues that stay empty.
enum IdleDriver {
    private static let firstSlot: UInt = 0xfe00_0000
    private static let slotSize: UInt = 0x1000
    /// Where rings lie, 4 KiB for each part of each queue: beyond everything else.
    private static let rings: UInt = 32 << 20
    private static let queueSize: UInt32 = 8

    /// Register offsets (4.2.2).
    private enum Register {
        static let magic: UInt = 0x000
        static let device: UInt = 0x008
        static let driverFeatures: UInt = 0x020
        static let driverFeaturesSelect: UInt = 0x024
        static let queueSelect: UInt = 0x030
        static let queueSize: UInt = 0x038
        static let queueReady: UInt = 0x044
        static let status: UInt = 0x070
        /// Descriptor, driver and device area: low and high word each, 16 bytes from one to the next.
        static let areas: UInt = 0x080
    }

    /// Device status (2.1): ACKNOWLEDGE and DRIVER, then FEATURES_OK, then DRIVER_OK.
    private enum Status {
        static let driver: UInt32 = 3
        static let featuresOK: UInt32 = 8
        static let driverOK: UInt32 = 4
    }

    /// False when there is no device in the slot, or one that cannot be used.
    static func begin(_ slot: UInt) -> Bool {
        let base = firstSlot + slot * slotSize
        guard guest_load32(base + Register.magic) == 0x7472_6976, let queues = queueCount(guest_load32(base + Register.device)) else {
            return false
        }
        guest_store32(base + Register.status, 0)
        guest_store32(base + Register.status, Status.driver)
        // VERSION_1, bit 32, and nothing else.
        guest_store32(base + Register.driverFeaturesSelect, 0)
        guest_store32(base + Register.driverFeatures, 0)
        guest_store32(base + Register.driverFeaturesSelect, 1)
        guest_store32(base + Register.driverFeatures, 1)
        guest_store32(base + Register.status, Status.driver | Status.featuresOK)
        guard guest_load32(base + Register.status) & Status.featuresOK != 0 else { return false }
        for queue in 0..<queues {
            guest_store32(base + Register.queueSelect, UInt32(queue))
            guest_store32(base + Register.queueSize, queueSize)
            for part in 0..<3 {
                let address = rings + ((slot * 2 + queue) * 4 + UInt(part)) * 4096
                guest_store32(base + Register.areas + UInt(part) * 16, UInt32(truncatingIfNeeded: address))
                guest_store32(base + Register.areas + UInt(part) * 16 + 4, 0)
            }
            guest_store32(base + Register.queueReady, 1)
        }
        guest_store32(base + Register.status, Status.driver | Status.featuresOK | Status.driverOK)
        return guest_load32(base + Register.status) == Status.driver | Status.featuresOK | Status.driverOK
    }

    /// How many queues a device has without features (5.1.2, 5.2.2, 5.3.2, 5.4.2); nil for kinds that are not known here.
    private static func queueCount(_ kind: UInt32) -> UInt? {
        switch kind {
        case 1, 3: 2
        case 2, 4: 1
        default: nil
        }
    }
}
