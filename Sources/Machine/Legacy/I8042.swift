public import Schema
import Synchronization

/// What is left of the keyboard controller (ports 0x60…0x64): the reset line, and port B of the system control at 0x61.
///
/// There is no keyboard, and a driver that looks for one shall find that out soon.
public final class I8042: ByteRegisterDevice {
    /// Ports 0x60 to 0x64: data at offset 0, port B at 1, status and command at 4.
    public static let byteCount: UInt64 = 5

    private enum Offset {
        static let data: UInt64 = 0
        static let portB: UInt64 = 1
        static let command: UInt64 = 4
    }

    /// Output buffer full, input buffer empty, for ever. Linux flushes the output buffer first, and gives up at once when it never
    /// runs empty ("no controller found"), where an empty one would cost half a second of waiting for an answer. And its reset waits
    /// for the input buffer to be empty before it sends the command.
    private static let status: UInt8 = 0x01

    private struct PortB {
        /// Bits 3:0: speaker gate and data, and the enables of two NMI sources.
        var control: UInt8 = 0
        /// Bits 4 (refresh) and 5 (timer 2 output) change with each read, so that a loop which waits for either value ends. There is
        /// neither a DRAM refresh nor a timer. Bits 7:6 stay 0: no parity or channel error is behind an NMI.
        var toggle = false
    }

    private let portB = Mutex(PortB())
    private let events: any MachineEventSink

    /// A controller that reports to `events`.
    public init(events: any MachineEventSink) { self.events = events }

    /// Data, status or port B; all ones where there is no register.
    public func readRegister(_ offset: UInt64) -> UInt8 {
        switch offset {
        case Offset.command: Self.status
        case Offset.portB:
            portB.withLock { portB in
                portB.toggle.toggle()
                return portB.control | (portB.toggle ? 0x30 : 0)
            }
        default: 0xFF
        }
    }

    /// Commands 0xF0…0xFF pulse the output port's low lines, of which bit 0 (active low) is the processor's reset: 0xFE and every other
    /// even one resets. No other command does anything.
    public func writeRegister(_ offset: UInt64, _ value: UInt8) {
        switch offset {
        case Offset.command: if value & 0xF1 == 0xF0 { events.machineEvent(.reset) }
        case Offset.portB: portB.withLock { $0.control = value & 0x0F }
        default: break
        }
    }

    /// Port B.
    public var state: JSONValue {
        portB.withLock { ["portB": .integer(Int64($0.control)), "refresh": .bool($0.toggle)] }
    }

    /// Takes over port B.
    public func restore(_ state: SavedValue) throws(StateError) {
        let saved = try state.read { (fields) throws(StateError) in
            PortB(control: try fields.integer("portB", in: 0...0x0F), toggle: try fields.bool("refresh"))
        }
        portB.withLock { $0 = saved }
    }
}
