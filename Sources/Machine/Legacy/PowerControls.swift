public import Schema
import Synchronization

/// The ACPI sleep control and status registers of a hardware-reduced platform (ACPI 6.5, 4.8.3.7): the way to switch the machine off.
///
/// Offset 0 is SLEEP_CONTROL_REG, offset 1 SLEEP_STATUS_REG. Only S5 exists.
public final class SleepControl: ByteRegisterDevice {
    /// Two registers of one byte.
    public static let byteCount: UInt64 = 2
    /// The offset of SLEEP_CONTROL_REG.
    public static let controlOffset: UInt64 = 0
    /// The offset of SLEEP_STATUS_REG.
    public static let statusOffset: UInt64 = 1
    /// The value of SLP_TYP for S5; the DSDT's `_S5` says the same.
    public static let sleepTypeS5: UInt8 = 5

    private let sleepType = Mutex<UInt8>(0)
    private let events: any MachineEventSink

    /// Registers that report to `events`.
    public init(events: any MachineEventSink) { self.events = events }

    /// SLP_TYP as written; SLP_EN is write-only. WAK_STS is never set, as there is no sleep to wake from.
    public func readRegister(_ offset: UInt64) -> UInt8 { offset == Self.controlOffset ? sleepType.withLock { $0 << 2 } : 0 }

    /// SLP_TYP is bits 4:2, SLP_EN bit 5.
    public func writeRegister(_ offset: UInt64, _ value: UInt8) {
        guard offset == Self.controlOffset else { return }
        let type = value >> 2 & 7
        sleepType.withLock { $0 = type }
        if value & 1 << 5 != 0, type == Self.sleepTypeS5 { events.machineEvent(.powerOff) }
    }

    /// SLP_TYP.
    public var state: JSONValue { ["sleepType": .integer(Int64(sleepType.withLock { $0 }))] }

    /// Takes over SLP_TYP.
    public func restore(_ state: SavedValue) throws(StateError) {
        let type = try state.read { (fields) throws(StateError) in
            try fields.integer("sleepType", in: UInt8(0)...7)
        }
        sleepType.withLock { $0 = type }
    }
}

/// The reset control register of a PC chipset (port 0xCF9), which ACPI's RESET_REG names.
///
/// A reset happens when RST_CPU (bit 2) goes from 0 to 1; bits 1 (SYS_RST) and 3 (FULL_RST) choose a kind, of which there is one here.
/// At 0xCF9 the register shares its dword with PCI's CONFIG_ADDRESS, which answers 32-bit accesses only: see `ConfigurationAddressPorts`.
public final class ResetRegister: ByteRegisterDevice {
    /// One byte.
    public static let byteCount: UInt64 = 1
    /// What ACPI's RESET_VALUE says: SYS_RST and RST_CPU.
    public static let resetValue: UInt8 = 0x06

    private static let cpuReset: UInt8 = 1 << 2
    private static let stored: UInt8 = 0x0E

    private let control = Mutex<UInt8>(0)
    private let events: any MachineEventSink

    /// A register that reports to `events`.
    public init(events: any MachineEventSink) { self.events = events }

    /// Bits 3:1 as written.
    public func readRegister(_ offset: UInt64) -> UInt8 { control.withLock { $0 } }

    /// Resets at the rise of RST_CPU.
    public func writeRegister(_ offset: UInt64, _ value: UInt8) {
        let rises = control.withLock { control in
            let rises = value & ~control & Self.cpuReset != 0
            control = value & Self.stored
            return rises
        }
        if rises { events.machineEvent(.reset) }
    }

    /// The register's value.
    public var state: JSONValue { ["control": .integer(Int64(control.withLock { $0 }))] }

    /// Takes over the register's value.
    public func restore(_ state: SavedValue) throws(StateError) {
        let value = try state.read { (fields) throws(StateError) in
            try fields.integer("control", in: UInt8(0)...Self.stored)
        }
        control.withLock { $0 = value & Self.stored }
    }
}
