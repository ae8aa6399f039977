public import Transport

/// The eight ports from 0xCF8, where two devices overlap as on every PC: 32-bit accesses are PCI's CONFIG_ADDRESS (PCI 3.0, 3.2.2.3.2:
/// anything narrower passes by it), and the byte at 0xCF9 is the reset control register.
public final class ConfigurationAddressPorts: BusDevice {
    private let configuration: any BusDevice
    private let reset: ResetRegister
    private static let resetOffset: UInt64 = 1

    /// `configuration` answers everything that is not a byte access to 0xCF9.
    public init(configuration: any BusDevice, reset: ResetRegister) {
        self.configuration = configuration
        self.reset = reset
    }

    /// Reads one of the two.
    public func read(at offset: UInt64, width: Int) -> UInt64 {
        if width == 1, offset == Self.resetOffset { return reset.read(at: 0, width: 1) }
        return configuration.read(at: offset, width: width)
    }

    /// Writes one of the two.
    public func write(_ value: UInt64, at offset: UInt64, width: Int) {
        if width == 1, offset == Self.resetOffset { return reset.write(value, at: 0, width: 1) }
        configuration.write(value, at: offset, width: width)
    }
}
