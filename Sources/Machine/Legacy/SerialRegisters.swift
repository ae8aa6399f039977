/// The registers of a 16550 and their rules, without lock, host or output (PC16550D data sheet, section 8).
struct SerialRegisters {
    /// Interrupt enable bits (8.7).
    enum Enable {
        static let received: UInt8 = 1 << 0
        static let transmitter: UInt8 = 1 << 1
        static let lineStatus: UInt8 = 1 << 2
        static let modemStatus: UInt8 = 1 << 3
        static let all: UInt8 = 0x0F
    }
    /// Interrupt identification (8.6).
    enum Cause {
        static let modemStatus: UInt8 = 0x00
        static let none: UInt8 = 0x01
        static let transmitter: UInt8 = 0x02
        static let received: UInt8 = 0x04
        static let lineStatus: UInt8 = 0x06
        static let timeout: UInt8 = 0x0C
        static let fifosEnabled: UInt8 = 0xC0
    }
    /// FIFO control bits (8.5).
    enum FIFOControl {
        static let enable: UInt8 = 1 << 0
        static let clearReceiver: UInt8 = 1 << 1
        static let clearTransmitter: UInt8 = 1 << 2
        static let trigger: UInt8 = 0xC0
    }
    /// Modem control bits (8.8).
    enum ModemControl {
        static let dtr: UInt8 = 1 << 0
        static let rts: UInt8 = 1 << 1
        static let out1: UInt8 = 1 << 2
        static let out2: UInt8 = 1 << 3
        static let loopback: UInt8 = 1 << 4
        static let all: UInt8 = 0x1F
    }
    /// Line status bits (8.4).
    enum LineStatus {
        static let dataReady: UInt8 = 1 << 0
        static let overrun: UInt8 = 1 << 1
        static let holdingEmpty: UInt8 = 1 << 5
        static let transmitterEmpty: UInt8 = 1 << 6
    }
    /// Modem status bits (8.9); the low four say which line has changed.
    enum ModemStatus {
        static let ringEnded: UInt8 = 1 << 2
        static let cts: UInt8 = 1 << 4
        static let dsr: UInt8 = 1 << 5
        static let ring: UInt8 = 1 << 6
        static let dcd: UInt8 = 1 << 7
    }

    var interruptEnable: UInt8 = 0
    var lineControl: UInt8 = 0
    var modemControl: UInt8 = 0
    var scratch: UInt8 = 0
    /// The divisor latch. The line has no speed here; 12 (9600 baud) is what firmware would leave.
    var divisor: UInt16 = 12
    /// The FIFO control register's bits that stay: enable and trigger level.
    var fifoControl: UInt8 = 0
    var received = ByteQueue()
    var hasOverrun = false
    /// The transmitter has become empty since the interrupt was last identified or data was written.
    var transmitterEvent = false
    /// MSR's change bits.
    var modemChanges: UInt8 = 0
    /// The guest has never written IER or MCR, and has asked for line status: a guest that polls without any set-up.
    var pollsUnconfigured = false
    var isConfigured = false

    var showsDivisor: Bool { lineControl & 0x80 != 0 }
    var isLoopback: Bool { modemControl & ModemControl.loopback != 0 }
    var hasFIFOs: Bool { fifoControl & FIFOControl.enable != 0 }

    /// How many bytes the receiver holds at most: one in the 16450's mode.
    private var receiverCapacity: Int { hasFIFOs ? ByteQueue.capacity : 1 }

    /// The number of bytes in the receiver that raises the interrupt (8.5, FCR bits 7:6).
    private var triggerLevel: Int {
        guard hasFIFOs else { return 1 }
        return switch fifoControl >> 6 {
        case 0: 1
        case 1: 4
        case 2: 8
        default: 14
        }
    }

    /// How many bytes may come in from outside now.
    ///
    /// A byte that comes before the driver is ready would be lost when the driver clears its FIFOs, so input waits as behind a cable
    /// with hardware flow control: for RTS, or for the receive interrupt to be enabled. A guest that has set up nothing at all and
    /// polls is served too. In loopback mode the receiver is cut off from the line (8.8).
    var room: Int {
        guard !isLoopback else { return 0 }
        let isReady = modemControl & ModemControl.rts != 0 || interruptEnable & Enable.received != 0 || pollsUnconfigured
        return isReady ? max(0, receiverCapacity - received.count) : 0
    }

    /// A byte from the transmitter, in loopback mode. Without room it is an overrun: in the 16450's mode the new byte replaces the old
    /// one, with FIFOs the new one is lost (8.4, bit 1).
    mutating func loop(_ byte: UInt8) {
        if received.count >= receiverCapacity {
            hasOverrun = true
            if hasFIFOs { return }
            _ = received.popFirst()
        }
        _ = received.append(byte)
    }

    /// The pending interrupt of the highest priority (8.6, table IV), whether enabled sources have one.
    ///
    /// Bytes below the trigger level are reported as a character time-out at once: there is no line whose character times could be
    /// counted, and nobody gains from waiting.
    var cause: UInt8 {
        let enabled = interruptEnable
        if enabled & Enable.lineStatus != 0, hasOverrun { return Cause.lineStatus }
        if enabled & Enable.received != 0, !received.isEmpty {
            return received.count >= triggerLevel ? Cause.received : Cause.timeout
        }
        if enabled & Enable.transmitter != 0, transmitterEvent { return Cause.transmitter }
        if enabled & Enable.modemStatus != 0, modemChanges != 0 { return Cause.modemStatus }
        return Cause.none
    }

    /// Reads IIR; that the transmitter is empty has been told thereby, if it is what IIR said.
    mutating func readIdentification() -> UInt8 {
        let cause = cause
        if cause == Cause.transmitter { transmitterEvent = false }
        return cause | (hasFIFOs ? Cause.fifosEnabled : 0)
    }

    /// Reads LSR, which clears the error bits.
    mutating func readLineStatus(transmitterHasRoom: Bool) -> UInt8 {
        var status = received.isEmpty ? 0 : LineStatus.dataReady
        if hasOverrun { status |= LineStatus.overrun }
        if transmitterHasRoom { status |= LineStatus.holdingEmpty | LineStatus.transmitterEmpty }
        hasOverrun = false
        if !isConfigured { pollsUnconfigured = true }
        return status
    }

    /// Reads MSR, which clears the change bits.
    mutating func readModemStatus() -> UInt8 {
        defer { modemChanges = 0 }
        return modemLines | modemChanges
    }

    /// Writes IER. Enabling the transmitter's interrupt while it is empty interrupts at once (8.7): Linux tests for that.
    mutating func writeEnable(_ value: UInt8, transmitterHasRoom: Bool) {
        let newly = value & ~interruptEnable
        interruptEnable = value & Enable.all
        if newly & Enable.transmitter != 0, transmitterHasRoom { transmitterEvent = true }
        configure()
    }

    /// Writes FCR. The other bits count only together with the enable bit.
    ///
    /// The data sheet clears the FIFOs whenever the mode changes. A byte that is there when they are switched on is kept instead:
    /// drivers enable the interrupt first (then input may come) and the FIFOs last, and clear them explicitly when they mean it.
    mutating func writeFIFOControl(_ value: UInt8, transmitterHasRoom: Bool) {
        guard value & FIFOControl.enable != 0 else {
            if hasFIFOs { received.removeAll() }
            fifoControl = 0
            return
        }
        fifoControl = value & (FIFOControl.enable | FIFOControl.trigger)
        if value & FIFOControl.clearReceiver != 0 { received.removeAll() }
        if value & FIFOControl.clearTransmitter != 0, transmitterHasRoom { transmitterEvent = true }
    }

    /// Writes MCR, and notes which modem lines that changes.
    mutating func writeModemControl(_ value: UInt8) {
        let before = modemLines
        modemControl = value & ModemControl.all
        let after = modemLines
        // Ring indicator reports only its end (8.9, TERI); the other three any change.
        modemChanges |= (before ^ after) >> 4 & ~ModemStatus.ringEnded
        if before & ~after & ModemStatus.ring != 0 { modemChanges |= ModemStatus.ringEnded }
        configure()
    }

    private mutating func configure() {
        isConfigured = true
        pollsUnconfigured = false
    }

    /// MSR's upper half: a peer that is always there, or MCR's outputs when looped back (8.8).
    private var modemLines: UInt8 {
        guard isLoopback else { return ModemStatus.cts | ModemStatus.dsr | ModemStatus.dcd }
        var lines: UInt8 = 0
        if modemControl & ModemControl.rts != 0 { lines |= ModemStatus.cts }
        if modemControl & ModemControl.dtr != 0 { lines |= ModemStatus.dsr }
        if modemControl & ModemControl.out1 != 0 { lines |= ModemStatus.ring }
        if modemControl & ModemControl.out2 != 0 { lines |= ModemStatus.dcd }
        return lines
    }
}
