/// Who has which global system interrupt. GSI n is pin n of the only IOAPIC.
public enum GSI {
    /// Pins of the IOAPIC; GSIs from here on lead to no pin and are for MSI.
    public static let pinCount: UInt32 = 24
    /// The first serial port.
    public static let com1: UInt32 = 4
    /// The real-time clock.
    public static let rtc: UInt32 = 8
    /// The generic event device.
    public static let events: UInt32 = 9
    /// PCI INTA … INTD, level-triggered, active low, shared.
    public static let pci: Range<UInt32> = 16..<20
    /// virtio-mmio slots, in order. They are edge-triggered, and an edge cannot be shared: so many slots there are and no more.
    ///
    /// 0 … 3 stay free, because kernels take them for the timer, the keyboard, the cascade and COM2.
    public static let virtioMMIO: [UInt32] = [5, 6, 7, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23]

    /// The GSI of a PCI function's interrupt pin (1 = INTA … 4 = INTD), rotated by device number as on a PCI bus, so that the first
    /// pins of neighbouring devices do not all share one.
    public static func pci(device: UInt8, pin: UInt8) -> UInt32 {
        pci.lowerBound + (UInt32(device) &+ UInt32(pin) &- 1) % UInt32(pci.count)
    }
}
