public import Host
public import Schema
import Synchronization

/// A 16550A serial port (PC16550D) with batched output: COM1.
///
/// **Output.** A byte is written at once if it is the first ever, ends a line, or fills the batch; else it waits for company. Whoever
/// runs the machine makes sure that it does not wait long: when `onPending` says that bytes have begun to wait, call `flush()` about
/// 5 ms later, and once before the machine stops, sleeps or ends. `hasPending` is cheap. An output that cannot take everything makes
/// the port keep the rest: `flush()` again when there is room there. While the batch is full the holding register reads as occupied, so
/// that the guest waits.
///
/// **Input.** `receive(_:)` takes what fits and is wanted; `onRoom` says when to offer the rest.
///
/// **Interrupt.** Each rise of the port's interrupt output signals the eventfd, which is attached to an edge-triggered GSI. OUT2 does
/// not gate it (on a PC it does): drivers set it, and guests that forget would only wonder.
public final class Serial16550: ByteRegisterDevice {
    /// Eight registers.
    public static let byteCount: UInt64 = 8

    private enum Offset {
        static let data: UInt64 = 0
        static let interruptEnable: UInt64 = 1
        static let identification: UInt64 = 2
        static let lineControl: UInt64 = 3
        static let modemControl: UInt64 = 4
        static let lineStatus: UInt64 = 5
        static let modemStatus: UInt64 = 6
        static let scratch: UInt64 = 7
    }

    private struct Port {
        var registers = SerialRegisters()
        var output = OutputBatch()
        /// The interrupt output, to see its rises.
        var interruptIsHigh = false
        /// Somebody had input that did not fit.
        var hasRefused = false
    }

    /// What to tell the machine after the lock is gone.
    private struct Notices {
        var pending = false
        var room = false
    }

    private let port = Mutex(Port())
    private let pending = Atomic<Bool>(false)
    private let interrupt: EventFD
    private let output: any SerialOutput
    private let onPending: @Sendable () -> Void
    private let onRoom: @Sendable () -> Void

    /// A port out of reset. The two callbacks run on a vCPU thread, or on one that calls the port, without the port's lock; they should
    /// do no more than wake the machine's loop. Output begins to wait: `onPending`; refused input would be taken now: `onRoom`.
    public init(
        interrupt: EventFD, output: any SerialOutput, onPending: @escaping @Sendable () -> Void = {},
        onRoom: @escaping @Sendable () -> Void = {}
    ) {
        self.interrupt = interrupt
        self.output = output
        self.onPending = onPending
        self.onRoom = onRoom
    }

    /// Whether output waits for `flush()`.
    public var hasPending: Bool { pending.load(ordering: .relaxed) }

    /// Writes what waits.
    public func flush() {
        access { port in
            let hadRoom = port.output.hasRoom
            port.output.flush(to: output)
            if !hadRoom, port.output.hasRoom { port.registers.transmitterEvent = true }
        }
    }

    /// Takes bytes from the front of `bytes` into the receiver, as many as there is room for, and says how many. After less than all,
    /// `onRoom` says when to come again.
    public func receive(_ bytes: Span<UInt8>) -> Int {
        access { port in
            let accepted = min(port.registers.room, bytes.count)
            for index in 0..<accepted { _ = port.registers.received.append(bytes[index]) }
            port.hasRefused = accepted < bytes.count
            return accepted
        }
    }

    /// How many bytes `receive` would take now: 0…16.
    public var room: Int { port.withLock { $0.registers.room } }

    /// Reads a register.
    public func readRegister(_ offset: UInt64) -> UInt8 {
        access { port in
            switch offset {
            case Offset.data where port.registers.showsDivisor: UInt8(truncatingIfNeeded: port.registers.divisor)
            case Offset.data: port.registers.received.popFirst() ?? 0
            case Offset.interruptEnable where port.registers.showsDivisor: UInt8(truncatingIfNeeded: port.registers.divisor >> 8)
            case Offset.interruptEnable: port.registers.interruptEnable
            case Offset.identification: port.registers.readIdentification()
            case Offset.lineControl: port.registers.lineControl
            case Offset.modemControl: port.registers.modemControl
            case Offset.lineStatus: port.registers.readLineStatus(transmitterHasRoom: port.output.hasRoom)
            case Offset.modemStatus: port.registers.readModemStatus()
            case Offset.scratch: port.registers.scratch
            default: 0xFF
            }
        }
    }

    /// Writes a register; LSR and MSR are read-only.
    public func writeRegister(_ offset: UInt64, _ value: UInt8) {
        access { port in
            let hasRoom = port.output.hasRoom
            switch offset {
            case Offset.data where port.registers.showsDivisor:
                port.registers.divisor = port.registers.divisor & 0xFF00 | UInt16(value)
            case Offset.data: transmit(value, &port)
            case Offset.interruptEnable where port.registers.showsDivisor:
                port.registers.divisor = port.registers.divisor & 0x00FF | UInt16(value) << 8
            case Offset.interruptEnable: port.registers.writeEnable(value, transmitterHasRoom: hasRoom)
            case Offset.identification: port.registers.writeFIFOControl(value, transmitterHasRoom: hasRoom)
            case Offset.lineControl: port.registers.lineControl = value
            case Offset.modemControl: port.registers.writeModemControl(value)
            case Offset.scratch: port.registers.scratch = value
            default: break
            }
        }
    }

    private func transmit(_ byte: UInt8, _ port: inout Port) {
        if port.registers.isLoopback {
            port.registers.loop(byte)
        } else if port.output.append(byte) {
            port.output.flush(to: output)
        }
        // The line takes no time: the transmitter is empty again, unless its output is stuck.
        port.registers.transmitterEvent = port.output.hasRoom
    }

    /// Every access comes through here: it may move the interrupt output, start a batch, or make room.
    private func access<Result>(_ body: (inout Port) -> Result) -> Result {
        let (result, notices) = port.withLock { port in
            let wasEmpty = port.output.isEmpty
            let result = body(&port)
            let isHigh = port.registers.cause != SerialRegisters.Cause.none
            if isHigh, !port.interruptIsHigh { interrupt.signal() }
            port.interruptIsHigh = isHigh
            var notices = Notices()
            if wasEmpty != port.output.isEmpty {
                pending.store(wasEmpty, ordering: .relaxed)
                notices.pending = wasEmpty
            }
            // Only when all is read, so that the next bytes come in one batch.
            if port.hasRefused, port.registers.received.isEmpty, port.registers.room > 0 {
                port.hasRefused = false
                notices.room = true
            }
            return (result, notices)
        }
        if notices.pending { onPending() }
        if notices.room { onRoom() }
        return result
    }

    /// Registers, unread input and unwritten output.
    public var state: JSONValue {
        port.withLock { port in
            let registers = port.registers
            return [
                "interruptEnable": .integer(Int64(registers.interruptEnable)),
                "fifoControl": .integer(Int64(registers.fifoControl)),
                "lineControl": .integer(Int64(registers.lineControl)),
                "modemControl": .integer(Int64(registers.modemControl)),
                "modemChanges": .integer(Int64(registers.modemChanges)),
                "scratch": .integer(Int64(registers.scratch)),
                "divisor": .integer(Int64(registers.divisor)),
                "overrun": .bool(registers.hasOverrun),
                "transmitterEvent": .bool(registers.transmitterEvent),
                "configured": .bool(registers.isConfigured),
                "received": .bytes(registers.received.bytes),
                "unwritten": .bytes(port.output.bytes),
            ]
        }
    }

    /// Takes over a saved state; unwritten output goes out with the next `flush()`.
    public func restore(_ state: SavedValue) throws(StateError) {
        let (registers, output) = try state.read { (fields) throws(StateError) in
            var registers = SerialRegisters()
            registers.interruptEnable = try fields.integer("interruptEnable", in: 0...SerialRegisters.Enable.all)
            registers.fifoControl = try fields.integer("fifoControl")
            let stays = SerialRegisters.FIFOControl.enable | SerialRegisters.FIFOControl.trigger
            guard registers.fifoControl & ~stays == 0, registers.hasFIFOs || registers.fifoControl == 0 else {
                throw fields.error("fifoControl", expected: "0, or bit 0 with a trigger level in bits 7:6")
            }
            registers.lineControl = try fields.integer("lineControl")
            registers.modemControl = try fields.integer("modemControl", in: 0...SerialRegisters.ModemControl.all)
            registers.modemChanges = try fields.integer("modemChanges", in: 0...0x0F)
            registers.scratch = try fields.integer("scratch")
            registers.divisor = try fields.integer("divisor")
            registers.hasOverrun = try fields.bool("overrun")
            registers.transmitterEvent = try fields.bool("transmitterEvent")
            registers.isConfigured = try fields.bool("configured")
            for byte in try fields.bytes("received", count: 0...(registers.hasFIFOs ? ByteQueue.capacity : 1)) {
                _ = registers.received.append(byte)
            }
            return (registers, OutputBatch(restoring: try fields.bytes("unwritten", count: 0...OutputBatch.capacity)))
        }
        access { port in
            port.registers = registers
            port.output = output
        }
    }

    /// Interrupts again if an interrupt is pending.
    public func resume() {
        if port.withLock({ $0.interruptIsHigh }) { interrupt.signal() }
    }
}
