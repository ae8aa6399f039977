import Schema

/// The registers of the I/O APIC and the rules of its pins, without lock and without KVM.
struct IOAPICRegisters {
    /// A pin: its redirection entry and its input.
    struct Pin {
        var entry = RedirectionEntry()
        /// How many handles assert the input (wired-OR).
        var holders = 0
        var isAsserted: Bool { holders > 0 }
    }

    /// The version, with an EOI register (0x20), and the index of the last redirection entry in bits 23:16 (82093AA, 3.2.2).
    private static let version = UInt32(0x20) | UInt32(IOAPIC.pinCount - 1) << 16
    /// The first redirection register; each entry has two.
    private static let firstEntry = 0x10

    /// IOREGSEL: which register IOWIN shows. All 8 bits are kept; indices without a register read as 0 and ignore writes.
    var selected: UInt8 = 0
    /// The APIC id (0…15). It addresses nothing any more, but can be read back.
    private(set) var id: UInt8
    private(set) var pins = Array(repeating: Pin(), count: IOAPIC.pinCount)

    init(id: UInt8) { self.id = id }

    /// Reads the selected register.
    func read() -> UInt32 {
        switch selected {
        case 0, 2: return UInt32(id) << 24
        case 1: return Self.version
        default:
            guard let (pin, high) = selectedEntry else { return 0 }
            return UInt32(truncatingIfNeeded: pins[pin].entry.rawValue >> (high ? 32 : 0))
        }
    }

    /// Writes the selected register. Version and arbitration id are read-only.
    mutating func write(_ value: UInt32, _ output: inout IOAPIC.Output) {
        if selected == 0 { id = UInt8(truncatingIfNeeded: value >> 24 & 0x0F) }
        guard let (pin, high) = selectedEntry else { return }
        pins[pin].entry.write(value, high: high)
        output.setRoute(pins[pin].entry.route, of: pin)
        sendIfDue(pin, &output)
    }

    private var selectedEntry: (pin: Int, high: Bool)? {
        let index = Int(selected) - Self.firstEntry
        guard index >= 0, index / 2 < pins.count else { return nil }
        return (index / 2, index & 1 == 1)
    }

    /// One holder of the pin's line raised or lowered its share.
    mutating func changeLine(_ pin: Int, asserted: Bool, _ output: inout IOAPIC.Output) {
        let before = pins[pin].isAsserted
        pins[pin].holders += asserted ? 1 : -1
        guard pins[pin].isAsserted, !before else { return }
        let entry = pins[pin].entry
        if entry.endsByEOI {
            sendIfDue(pin, &output)
        } else if !entry.isMasked, let message = entry.message {
            // A line on a pin that the guest programmed as edge-triggered: each rise is one interrupt.
            _ = output.send(message)
        }
    }

    /// Clears Remote IRR of every pin with this vector; a line that is still asserted interrupts again.
    mutating func endOfInterrupt(_ vector: UInt8, _ output: inout IOAPIC.Output) {
        for pin in pins.indices where pins[pin].entry.remoteIRR && pins[pin].entry.vector == vector {
            pins[pin].entry.remoteIRR = false
            sendIfDue(pin, &output)
        }
    }

    /// See `IOAPIC.reconcile`.
    mutating func reconcile(isInFlight: (UInt8) -> Bool, _ output: inout IOAPIC.Output) {
        for pin in pins.indices {
            if pins[pin].entry.remoteIRR, !isInFlight(pins[pin].entry.vector) { pins[pin].entry.remoteIRR = false }
            sendIfDue(pin, &output)
        }
    }

    /// Sends the message of a level pin whose line is asserted, unless it is masked or was sent and has not ended. If the message
    /// cannot leave, Remote IRR stays clear, so that the next event at the pin tries again.
    private mutating func sendIfDue(_ pin: Int, _ output: inout IOAPIC.Output) {
        let entry = pins[pin].entry
        guard pins[pin].isAsserted, entry.endsByEOI, !entry.isMasked, !entry.remoteIRR, let message = entry.message else { return }
        pins[pin].entry.remoteIRR = output.send(message)
    }
}

extension IOAPICRegisters {
    /// A state that has been validated.
    struct Saved {
        let selected: UInt8
        let id: UInt8
        let entries: [RedirectionEntry]

        init(_ state: SavedValue) throws(StateError) {
            self = try state.read { (fields) throws(StateError) in
                let count = IOAPIC.pinCount
                return Saved(
                    selected: try fields.integer("registerSelect"), id: try fields.integer("id", in: 0...15),
                    entries: try fields.array("pins", count: count...count) { (pin) throws(StateError) in try RedirectionEntry(state: pin) }
                )
            }
        }

        private init(selected: UInt8, id: UInt8, entries: [RedirectionEntry]) {
            self.selected = selected
            self.id = id
            self.entries = entries
        }
    }

    var state: JSONValue {
        [
            "registerSelect": .integer(Int64(selected)), "id": .integer(Int64(id)),
            "pins": .array(pins.map { $0.entry.state(isAsserted: $0.isAsserted) }),
        ]
    }

    mutating func restore(_ saved: Saved, _ output: inout IOAPIC.Output) {
        selected = saved.selected
        id = saved.id
        for (pin, entry) in saved.entries.enumerated() {
            pins[pin].entry = entry
            output.setRoute(entry.route, of: pin)
        }
    }
}

extension RedirectionEntry {
    private enum Trigger: String, CaseIterable { case edge, level }
    private enum Polarity: String, CaseIterable { case high, low }
    private enum DestinationMode: String, CaseIterable { case physical, logical }

    func state(isAsserted: Bool) -> JSONValue {
        [
            "vector": .integer(Int64(vector)),
            "delivery": .string(delivery.rawValue),
            "destination": .integer(Int64(destination)),
            "destinationMode": .string((isLogical ? DestinationMode.logical : .physical).rawValue),
            "polarity": .string((isActiveLow ? Polarity.low : .high).rawValue),
            "trigger": .string((isLevel ? Trigger.level : .edge).rawValue),
            "masked": .bool(isMasked),
            "remoteIRR": .bool(remoteIRR),
            "asserted": .bool(isAsserted),
        ]
    }

    init(state: SavedValue) throws(StateError) {
        self = try state.read { (fields) throws(StateError) in
            var entry = RedirectionEntry(
                vector: try fields.integer("vector"),
                delivery: try fields.choice("delivery"),
                isLogical: try fields.choice("destinationMode", of: DestinationMode.self) == .logical,
                isActiveLow: try fields.choice("polarity", of: Polarity.self) == .low,
                isLevel: try fields.choice("trigger", of: Trigger.self) == .level,
                isMasked: try fields.bool("masked"),
                destination: try fields.integer("destination"))
            _ = try fields.bool("asserted")
            entry.remoteIRR = try fields.bool("remoteIRR")
            guard !entry.remoteIRR || entry.endsByEOI else {
                throw fields.error("remoteIRR", expected: "false, because the pin is not level-triggered")
            }
            return entry
        }
    }
}
