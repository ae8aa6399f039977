import Synchronization

// The two ways of a guest to configuration space, which show the same functions.

/// PCI Express enhanced configuration access (PCIe 3.0, 7.2.2): each function's space as memory, 4 KiB apart.
public final class PCIConfigurationWindow: BusDevice {
    /// Bytes that one bus takes.
    public static let bytesPerBus: UInt64 = 1 << 20

    private let bus: PCIBus

    /// The window onto `bus`, which is bus 0 of it.
    public init(_ bus: PCIBus) { self.bus = bus }

    /// A guest's read; all ones where no function answers.
    public func read(at offset: UInt64, width: Int) -> UInt64 {
        guard width <= 4 else { return .max }
        return UInt64(bus.read(Self.address(offset), at: Int(offset & 0xfff), width: width))
    }

    /// A guest's write; lost where no function answers.
    public func write(_ value: UInt64, at offset: UInt64, width: Int) {
        guard width <= 4 else { return }
        bus.write(UInt32(truncatingIfNeeded: value), Self.address(offset), at: Int(offset & 0xfff), width: width)
    }

    private static func address(_ offset: UInt64) -> PCIAddress {
        PCIAddress(bus: Int((offset >> 20) & 0xff), slot: Int((offset >> 15) & 31), function: Int((offset >> 12) & 7))
    }
}

/// PCI configuration mechanism #1 (PCI 3.0, 3.2.2.3.2): an address register at port 0xCF8, a data window at 0xCFC.
public final class PCIConfigurationPorts: BusDevice {
    /// The ports.
    public static let ports: Range<UInt64> = 0xcf8..<0xd00
    private static let dataOffset: UInt64 = 4
    private static let enable: UInt32 = 1 << 31

    private let bus: PCIBus
    private let address = Atomic<UInt32>(0)

    /// The ports for `bus`. Narrow accesses to the address register do nothing here: port 0xCF9 among them is the chipset's reset control.
    public init(_ bus: PCIBus) { self.bus = bus }

    /// A guest's read; all ones where no function answers.
    public func read(at offset: UInt64, width: Int) -> UInt64 {
        if offset == 0, width == 4 { return UInt64(address.load(ordering: .relaxed)) }
        guard let (target, register) = target(offset, width) else { return .max }
        return UInt64(bus.read(target, at: register, width: width))
    }

    /// A guest's write; lost where no function answers.
    public func write(_ value: UInt64, at offset: UInt64, width: Int) {
        if offset == 0, width == 4 {
            // Bits 0, 1 and 24–30 are reserved and read as zero.
            address.store(UInt32(truncatingIfNeeded: value) & 0x80ff_fffc, ordering: .relaxed)
        } else if let (target, register) = target(offset, width) {
            bus.write(UInt32(truncatingIfNeeded: value), target, at: register, width: width)
        }
    }

    private func target(_ offset: UInt64, _ width: Int) -> (PCIAddress, register: Int)? {
        let address = address.load(ordering: .relaxed)
        guard address & Self.enable != 0, offset >= Self.dataOffset, width <= 4 else { return nil }
        let target = PCIAddress(bus: Int((address >> 16) & 0xff), slot: Int((address >> 11) & 31), function: Int((address >> 8) & 7))
        return (target, Int(address & 0xfc) + Int(offset - Self.dataOffset))
    }

    /// The address register, for a snapshot.
    public var selectedAddress: UInt32 {
        get { address.load(ordering: .relaxed) }
        set { address.store(newValue & 0x80ff_fffc, ordering: .relaxed) }
    }
}
