public import Host
public import Hypervisor
public import Schema
import Synchronization

/// An I/O APIC with 24 pins (82093AA, with the EOI register of version 0x20). The local APICs are the kernel's.
///
/// Two kinds of sources reach a pin. An *edge* source signals an eventfd attached to the GSI of the pin's number; it never passes
/// through here: each redirection entry is mirrored as the GSI's message. A *level* source holds a `line(_:)`; the message is sent
/// from here, Remote IRR remembers it, and its EOI comes back as `endOfInterrupt(vector:)`.
///
/// The lock is a leaf but for the router's: lines and registers may be used under any other lock.
public final class IOAPIC: MachineDevice {
    /// The number of pins, which are GSIs 0…23.
    public static let pinCount = 24
    /// One page of registers.
    public static let byteCount: UInt64 = 0x1000

    private enum Offset {
        static let select: UInt64 = 0x00
        static let window: UInt64 = 0x10
        static let endOfInterrupt: UInt64 = 0x40
    }

    private let registers: Mutex<IOAPICRegisters>
    private let routing: any InterruptRouting
    private let onFailure: @Sendable (SystemError) -> Void

    /// An I/O APIC out of reset: all pins masked.
    ///
    /// `id` (0…15) is what the MADT says. `onFailure` hears of routes and messages that the kernel refused, which is the host's trouble
    /// and never the guest's doing.
    public init(id: UInt8 = 0, routing: any InterruptRouting, onFailure: @escaping @Sendable (SystemError) -> Void = { _ in }) {
        registers = Mutex(IOAPICRegisters(id: id & 0x0F))
        self.routing = routing
        self.onFailure = onFailure
    }

    /// Reads IOREGSEL or IOWIN; everything else reads as 0.
    public func read(at offset: UInt64, width: Int) -> UInt64 {
        let value: UInt32 = registers.withLock { registers in
            switch offset {
            case Offset.select: UInt32(registers.selected)
            case Offset.window: registers.read()
            default: 0
            }
        }
        return width < 4 ? UInt64(value) & (1 << (8 * UInt64(clamping: width)) - 1) : UInt64(value)
    }

    /// Writes IOREGSEL, IOWIN or the EOI register. Registers are 32 bits; narrower writes are extended with zeros.
    public func write(_ value: UInt64, at offset: UInt64, width: Int) {
        let value = UInt32(truncatingIfNeeded: width < 4 ? value & (1 << (8 * UInt64(clamping: width)) - 1) : value)
        switch offset {
        case Offset.select: registers.withLock { $0.selected = UInt8(truncatingIfNeeded: value) }
        case Offset.window: update { $0.write(value, &$1) }
        case Offset.endOfInterrupt: endOfInterrupt(vector: UInt8(truncatingIfNeeded: value))
        default: break
        }
    }

    /// A new handle on a pin's input; the input is asserted while any of its handles is high. A handle that goes lets go of the line.
    ///
    /// Level sources only: an edge source attaches its eventfd to the GSI. `pin` is 0…23; nil for any other.
    public func line(_ pin: Int) -> (any InterruptLine)? {
        guard (0..<Self.pinCount).contains(pin) else { return nil }
        return IOAPICLine(self, pin: pin)
    }

    /// A local APIC has ended a level-triggered interrupt with this vector (KVM_EXIT_IOAPIC_EOI, or a write to the EOI register).
    public func endOfInterrupt(vector: UInt8) {
        update { $0.endOfInterrupt(vector, &$1) }
    }

    /// After a wake or a restore, before vCPUs run: an EOI exit that was on its way is not part of any saved state, so Remote IRR may
    /// speak of an interrupt that has ended. `isInFlight` says whether any local APIC has the vector in its IRR or ISR; it must not
    /// call the I/O APIC. Then lines that are asserted send their message, if it is due.
    public func reconcile(isInFlight: (_ vector: UInt8) -> Bool) {
        update { $0.reconcile(isInFlight: isInFlight, &$1) }
    }

    /// The registers, each redirection entry in its fields. `asserted` is for the reader: who holds a line asserts it again.
    public var state: JSONValue { registers.withLock { $0.state } }

    /// Takes over saved registers and sets all routes. Sends nothing: local APICs may not have their state yet (see `reconcile`).
    public func restore(_ state: SavedValue) throws(StateError) {
        let saved = try IOAPICRegisters.Saved(state)
        let failure: SystemError? = registers.withLock { registers in
            var output = Output(routing)
            registers.restore(saved, &output)
            return output.failure
        }
        if let failure { throw state.error(expected: "interrupt routes that the host's kernel takes; it refused them (\(failure))") }
    }

    func changeLine(_ pin: Int, asserted: Bool) {
        update { $0.changeLine(pin, asserted: asserted, &$1) }
    }

    private func update(_ body: (inout IOAPICRegisters, inout Output) -> Void) {
        let failure: SystemError? = registers.withLock { registers in
            var output = Output(routing)
            body(&registers, &output)
            return output.failure
        }
        if let failure { onFailure(failure) }
    }

    /// The way out of the chip. Calls are made under the chip's lock, so that the routes end up as the entries do.
    struct Output {
        private let routing: any InterruptRouting
        /// The last refusal.
        private(set) var failure: SystemError?

        init(_ routing: any InterruptRouting) { self.routing = routing }

        mutating func setRoute(_ message: MSIMessage?, of pin: Int) {
            do throws(SystemError) { try routing.setMessage(message, for: UInt32(pin)) } catch { failure = error }
        }

        /// False when the message did not leave.
        mutating func send(_ message: MSIMessage) -> Bool {
            do throws(SystemError) {
                try routing.send(message)
                return true
            } catch {
                // KVM answers −1, which is EPERM, when no local APIC is at the destination. The guest chose it; nobody answers, as on a
                // real bus.
                if error.errno != .notPermitted { failure = error }
                return false
            }
        }
    }
}

/// One holder's share of a pin's input.
private final class IOAPICLine: InterruptLine {
    private let chip: IOAPIC
    private let pin: Int
    private let isHigh = Mutex(false)

    init(_ chip: IOAPIC, pin: Int) {
        self.chip = chip
        self.pin = pin
    }

    deinit { setLevel(false) }

    func setLevel(_ high: Bool) {
        // The chip is told under this handle's lock, or two threads that use one handle could tell it in the wrong order.
        isHigh.withLock { isHigh in
            guard isHigh != high else { return }
            isHigh = high
            chip.changeLine(pin, asserted: high)
        }
    }
}
