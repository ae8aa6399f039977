import Transport

/// Who has which global system interrupt. GSI n is pin n of the only IOAPIC.
public enum GSI {
    /// Pins of the IOAPIC; GSIs from here on lead to no pin and are for MSI.
    public static let pinCount: UInt32 = 24
    /// The first serial port.
    public static let com1: UInt32 = 4
    /// The generic event device.
    public static let events: UInt32 = 9
    /// PCI INTA … INTD, level-triggered, active low, shared.
    public static let pci = PCIBus.firstInterruptGSI..<PCIBus.firstInterruptGSI + UInt32(PCIBus.interruptGSICount)
    /// virtio-mmio slots, in order. They are edge-triggered, and an edge cannot be shared: so many slots there are and no more.
    ///
    /// 0 … 3 and 8 stay free, because kernels take them for the timer, the keyboard, the cascade, COM2 and the clock.
    public static let virtioMMIO: [UInt32] = [5, 6, 7, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23]
}
