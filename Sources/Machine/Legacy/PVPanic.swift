public import Schema

/// The paravirtual panic port (the pvpanic interface): a guest's kernel says that it has panicked.
public final class PVPanic: ByteRegisterDevice {
    /// One byte.
    public static let byteCount: UInt64 = 1

    private static let panicked: UInt8 = 1 << 0
    private static let crashLoaded: UInt8 = 1 << 1

    private let events: any MachineEventSink

    /// A port that reports to `events`.
    public init(events: any MachineEventSink) { self.events = events }

    /// The events that the port understands.
    public func readRegister(_ offset: UInt64) -> UInt8 { Self.panicked | Self.crashLoaded }

    /// An event. One that the port does not offer is ignored; of both, the one that ends the guest counts.
    public func writeRegister(_ offset: UInt64, _ value: UInt8) {
        if value & Self.panicked != 0 {
            events.machineEvent(.panic(crashLoaded: false))
        } else if value & Self.crashLoaded != 0 {
            events.machineEvent(.panic(crashLoaded: true))
        }
    }

    /// Nothing: the port remembers nothing.
    public var state: JSONValue { [:] }

    /// Checks that nothing is there.
    public func restore(_ state: SavedValue) throws(StateError) { try state.expectEmpty() }
}

/// A port whose written byte ends the machine with that code: how a bare-metal guest returns a result. Only there when the
/// configuration asks for it.
public final class DebugExit: ByteRegisterDevice {
    /// One byte.
    public static let byteCount: UInt64 = 1

    private let events: any MachineEventSink

    /// A port that reports to `events`.
    public init(events: any MachineEventSink) { self.events = events }

    /// Nothing to read: zero, so that a guest can tell the port from an empty bus.
    public func readRegister(_ offset: UInt64) -> UInt8 { 0 }

    /// Ends the machine with the code `value`.
    public func writeRegister(_ offset: UInt64, _ value: UInt8) { events.machineEvent(.debugExit(value)) }

    /// Nothing: the port remembers nothing.
    public var state: JSONValue { [:] }

    /// Checks that nothing is there.
    public func restore(_ state: SavedValue) throws(StateError) { try state.expectEmpty() }
}
