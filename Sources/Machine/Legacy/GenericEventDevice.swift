public import Host
public import Schema
import Synchronization

/// The register behind ACPI's generic event device (ACPI 6.5, 5.6.9): which of the machine's events the guest has not seen yet.
///
/// `_EVT` reads the status register once and notifies the device behind each bit that is set. Reading clears the register, so that
/// no event between a read and a write can be lost. Writing ones clears as well.
public final class GenericEventDevice: ByteRegisterDevice {
    /// One register of 32 bits, of which the lowest byte is in use.
    public static let byteCount: UInt64 = 4

    /// The bits of the status register; the DSDT's `_EVT` decodes the same.
    public struct Event: OptionSet, Sendable {
        /// The bits.
        public let rawValue: UInt8
        /// Wraps bits.
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// The power button was pressed.
        public static let powerButton = Event(rawValue: 1 << 0)
        /// The VM Generation ID has changed: the guest goes on from a snapshot.
        public static let newGeneration = Event(rawValue: 1 << 1)

        static let all: Event = [.powerButton, .newGeneration]
    }

    private let pending = Mutex<Event>([])
    private let interrupt: EventFD

    /// A register whose edge-triggered interrupt is `interrupt`.
    public init(interrupt: EventFD) { self.interrupt = interrupt }

    /// Tells the guest's system that the power button was pressed; it usually shuts down.
    public func pressPowerButton() { raise(.powerButton) }

    /// Reports events. The interrupt is sent also for one that is pending already: an edge that comes before the guest has set up its
    /// interrupt controller is dropped there, and pressing the button again must help.
    public func raise(_ events: Event) {
        let events = events.intersection(.all)
        guard !events.isEmpty else { return }
        pending.withLock { $0.formUnion(events) }
        interrupt.signal()
    }

    /// The pending events, which are then no longer pending.
    public func readRegister(_ offset: UInt64) -> UInt8 {
        guard offset == 0 else { return 0 }
        return pending.withLock { pending in
            defer { pending = [] }
            return pending.rawValue
        }
    }

    /// Clears the events whose bits are 1.
    public func writeRegister(_ offset: UInt64, _ value: UInt8) {
        if offset == 0 { pending.withLock { $0.subtract(Event(rawValue: value)) } }
    }

    /// The pending events.
    public var state: JSONValue {
        let events = pending.withLock { $0 }
        return [
            "powerButton": .bool(events.contains(.powerButton)), "newGeneration": .bool(events.contains(.newGeneration)),
        ]
    }

    /// Takes over the pending events.
    public func restore(_ state: SavedValue) throws(StateError) {
        let saved = try state.read { (fields) throws(StateError) in
            var saved: Event = []
            if try fields.bool("powerButton") { saved.insert(.powerButton) }
            if try fields.bool("newGeneration") { saved.insert(.newGeneration) }
            return saved
        }
        pending.withLock { $0 = saved }
    }

    /// Interrupts again if something is pending.
    public func resume() { if !pending.withLock({ $0.isEmpty }) { interrupt.signal() } }
}
