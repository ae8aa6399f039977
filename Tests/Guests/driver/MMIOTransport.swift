import Virtqueue

/// A device behind memory-mapped registers (virtio 1.3, 4.2.2).
struct MMIOTransport: DriverTransport {
    private enum Register {
        static let magic: UInt = 0x000
        static let version: UInt = 0x004
        static let device: UInt = 0x008
        static let deviceFeatures: UInt = 0x010
        static let deviceFeatureSelect: UInt = 0x014
        static let driverFeatures: UInt = 0x020
        static let driverFeatureSelect: UInt = 0x024
        static let queueSelect: UInt = 0x030
        static let queueMaxSize: UInt = 0x034
        static let queueSize: UInt = 0x038
        static let queueReady: UInt = 0x044
        static let queueNotify: UInt = 0x050
        static let interruptStatus: UInt = 0x060
        static let interruptAcknowledge: UInt = 0x064
        static let status: UInt = 0x070
        static let descriptorArea: UInt = 0x080
        static let driverArea: UInt = 0x090
        static let deviceArea: UInt = 0x0a0
        static let generation: UInt = 0x0fc
        static let configuration: UInt = 0x100
    }

    private static let magic: UInt32 = 0x7472_6976  // "virt"

    private let base: UInt

    /// The device at `base`; nil when none is there, or one of another version.
    init?(base: UInt) {
        self.base = base
        guard read(Register.magic) == Self.magic, read(Register.version) == 2, deviceType != 0 else { return nil }
    }

    private func read(_ register: UInt) -> UInt32 { guest_load32(base + register) }
    private func write(_ value: UInt32, _ register: UInt) { guest_store32(base + register, value) }

    var deviceType: UInt16 { UInt16(truncatingIfNeeded: read(Register.device)) }

    var deviceFeatures: UInt64 {
        write(1, Register.deviceFeatureSelect)
        let high = UInt64(read(Register.deviceFeatures))
        write(0, Register.deviceFeatureSelect)
        return high << 32 | UInt64(read(Register.deviceFeatures))
    }

    func setDriverFeatures(_ features: UInt64) {
        for half: UInt32 in 0..<2 {
            write(half, Register.driverFeatureSelect)
            write(UInt32(truncatingIfNeeded: features >> (32 * UInt64(half))), Register.driverFeatures)
        }
    }

    var status: UInt8 {
        get { UInt8(truncatingIfNeeded: read(Register.status)) }
        nonmutating set {
            write(UInt32(newValue), Register.status)
            while newValue == 0, status != 0 {}
        }
    }

    func maxQueueSize(_ queue: UInt16) -> UInt16 {
        write(UInt32(queue), Register.queueSelect)
        return UInt16(truncatingIfNeeded: read(Register.queueMaxSize))
    }

    func isQueueUsed(_ queue: UInt16) -> Bool {
        write(UInt32(queue), Register.queueSelect)
        return read(Register.queueReady) != 0
    }

    func setQueue(_ queue: UInt16, _ configuration: QueueConfiguration) -> Bool {
        write(UInt32(queue), Register.queueSelect)
        write(UInt32(configuration.size), Register.queueSize)
        GuestRegisters.write(configuration.descriptorArea, base + Register.descriptorArea)
        GuestRegisters.write(configuration.driverArea, base + Register.driverArea)
        GuestRegisters.write(configuration.deviceArea, base + Register.deviceArea)
        write(1, Register.queueReady)
        return read(Register.queueReady) == 1
    }

    /// Reading 0 again makes sure that the device has stopped (4.2.2.2).
    func unsetQueue(_ queue: UInt16) {
        write(UInt32(queue), Register.queueSelect)
        write(0, Register.queueReady)
        while read(Register.queueReady) != 0 {}
    }

    func notify(_ queue: UInt16) { write(UInt32(queue), Register.queueNotify) }

    func configuration<T: FixedWidthInteger>(at offset: Int, as type: T.Type) -> T {
        GuestRegisters.read(base + Register.configuration + UInt(offset))
    }

    func setConfiguration<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        GuestRegisters.write(value, base + Register.configuration + UInt(offset))
    }

    var configurationGeneration: UInt32 { read(Register.generation) }

    func acknowledgeInterrupt() -> UInt8 {
        let causes = read(Register.interruptStatus)
        write(causes, Register.interruptAcknowledge)
        return UInt8(truncatingIfNeeded: causes)
    }
}

/// Registers of any width.
enum GuestRegisters {
    /// Reads an integer of 1, 2 or 4 bytes; one of 8 as two halves, the lower one first.
    static func read<T: FixedWidthInteger>(_ address: UInt) -> T {
        switch T.bitWidth {
        case 8: T(truncatingIfNeeded: guest_load8(address))
        case 16: T(truncatingIfNeeded: guest_load16(address))
        case 32: T(truncatingIfNeeded: guest_load32(address))
        default: T(truncatingIfNeeded: UInt64(guest_load32(address)) | UInt64(guest_load32(address + 4)) << 32)
        }
    }

    /// Writes one.
    static func write<T: FixedWidthInteger>(_ value: T, _ address: UInt) {
        switch T.bitWidth {
        case 8: guest_store8(address, UInt8(truncatingIfNeeded: value))
        case 16: guest_store16(address, UInt16(truncatingIfNeeded: value))
        case 32: guest_store32(address, UInt32(truncatingIfNeeded: value))
        default:
            guest_store32(address, UInt32(truncatingIfNeeded: value))
            guest_store32(address + 4, UInt32(truncatingIfNeeded: UInt64(truncatingIfNeeded: value) >> 32))
        }
    }
}
