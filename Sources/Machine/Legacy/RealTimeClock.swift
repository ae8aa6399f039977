public import Host
public import Schema
import Synchronization

/// The PC's real-time clock (MC146818 with a century byte): the time of day, and memory that nobody's battery keeps.
///
/// The time is the host's UTC plus whatever the guest has set it apart by. Alarm, periodic and update interrupts never come: register C
/// reads 0. Linux is content with that as long as the clock's ACPI device declares no interrupt; with one, `hwclock` would wait for
/// update interrupts. (It also requires 24-hour mode, and UIP clear within 10 ms.)
public final class RealTimeClock: ByteRegisterDevice {
    /// Ports 0x70 (index) and 0x71 (data).
    public static let byteCount: UInt64 = 2
    /// Where the century is, for the FADT's CENTURY field.
    public static let centuryIndex: UInt8 = 0x32

    /// The time right now.
    public typealias TimeSource = @Sendable () -> WallTime

    private let chip: Mutex<RealTimeClockRegisters>
    private let now: TimeSource

    /// A clock in BCD, 24 hours, that runs.
    public init(now: @escaping TimeSource = { WallTime.now() }) {
        chip = Mutex(RealTimeClockRegisters())
        self.now = now
    }

    /// Reads the data port; the index port is write-only.
    public func readRegister(_ offset: UInt64) -> UInt8 {
        guard offset == 1 else { return 0xFF }
        let time = now()
        return chip.withLock { $0.read(at: time) }
    }

    /// Writes the index (bit 7, which masks NMIs on a PC, is ignored) or the data port.
    public func writeRegister(_ offset: UInt64, _ value: UInt8) {
        guard offset == 1 else { return chip.withLock { $0.index = Int(value & 0x7F) } }
        let time = now()
        chip.withLock { $0.write(value, at: time) }
    }

    /// Registers, memory, and the distance from the host's time.
    public var state: JSONValue { chip.withLock { $0.state } }

    /// Takes over a saved state: the clock then shows the time of the restore, not of the snapshot.
    public func restore(_ state: SavedValue) throws(StateError) {
        let restored = try RealTimeClockRegisters(state: state)
        chip.withLock { $0 = restored }
    }
}

/// The clock's registers and rules, without lock and host clock.
struct RealTimeClockRegisters {
    private enum Index {
        static let second = 0
        static let secondAlarm = 1
        static let minute = 2
        static let minuteAlarm = 3
        static let hour = 4
        static let hourAlarm = 5
        static let dayOfWeek = 6
        static let day = 7
        static let month = 8
        static let year = 9
        static let a = 10
        static let b = 11
        static let c = 12
        static let d = 13
        static let memory = 14
        static let century = Int(RealTimeClock.centuryIndex)
    }
    /// Register A: UIP, and DV (bits 6:4), of which 010 lets the divider run from 32 768 Hz.
    private static let updateInProgress: UInt8 = 0x80
    private static let dividerBits: UInt8 = 0x70
    private static let dividerRuns: UInt8 = 0x20
    /// Register B.
    private static let set: UInt8 = 0x80
    private static let binary: UInt8 = 0x04
    private static let hours24: UInt8 = 0x02
    /// Register D: valid RAM and time.
    private static let valid: UInt8 = 0x80
    /// UIP rises this long before the second changes, so that who reads it clear has that long to read the rest.
    private static let updateNotice: Int32 = 244_000
    static let byteCount = 128
    private static let offsetRange = Int64(-1) << 40...Int64(1) << 40

    /// Which byte the data port shows (0…127).
    var index = 0
    private var a: UInt8 = 0x26
    private var b: UInt8 = hours24
    /// Alarms and general memory; what lies under counting registers and A to D is not used.
    private var memory = Array(repeating: UInt8(0), count: byteCount)
    /// How far the guest's clock is from the host's, in seconds.
    private var offset: Int64 = 0
    /// The counting registers while they stand still, encoded.
    private var held: ClockFields?

    init() {}

    private var format: ClockFields.Format { ClockFields.Format(isBinary: b & Self.binary != 0, is24Hour: b & Self.hours24 != 0) }

    /// SET stops updates, so that a new time can be written in peace; so does a divider that is held in reset.
    private var isRunning: Bool { b & Self.set == 0 && a & Self.dividerBits == Self.dividerRuns }

    private func fields(at now: WallTime) -> ClockFields {
        held ?? ClockFields(CalendarTime(secondsSinceEpoch: now.seconds &+ offset), format)
    }

    func read(at now: WallTime) -> UInt8 {
        if let field = Self.field(index) { return fields(at: now)[field] }
        switch index {
        case Index.a:
            let updates = isRunning && now.nanoseconds >= 1_000_000_000 - Self.updateNotice
            return a | (updates ? Self.updateInProgress : 0)
        case Index.b: return b
        case Index.c: return 0
        case Index.d: return Self.valid
        default: return memory[index]
        }
    }

    mutating func write(_ value: UInt8, at now: WallTime) {
        if let field = Self.field(index) {
            var fields = fields(at: now)
            fields[field] = value
            // A running clock takes each register at once.
            if held != nil { held = fields } else { adopt(fields, at: now) }
            return
        }
        switch index {
        case Index.a: changeControl(at: now) { $0.a = value & ~Self.updateInProgress }
        case Index.b: changeControl(at: now) { $0.b = value }
        case Index.c, Index.d: break
        default: memory[index] = value
        }
    }

    /// Stops or starts the counting as register A and B say after `change`.
    private mutating func changeControl(at now: WallTime, _ change: (inout Self) -> Void) {
        let before = fields(at: now)
        let wasRunning = isRunning
        change(&self)
        if wasRunning, !isRunning { held = before }
        if !wasRunning, isRunning, let fields = held {
            held = nil
            adopt(fields, at: now)
        }
    }

    /// Goes on from the time that the registers show. If they show none (a thirteenth month), the clock keeps its time.
    private mutating func adopt(_ fields: ClockFields, at now: WallTime) {
        guard let time = fields.time(format) else { return }
        let difference = time.secondsSinceEpoch.subtractingReportingOverflow(now.seconds)
        if !difference.overflow, Self.offsetRange.contains(difference.partialValue) { offset = difference.partialValue }
    }

    private static func field(_ index: Int) -> ClockFields.Field? {
        switch index {
        case Index.second: .second
        case Index.minute: .minute
        case Index.hour: .hour
        case Index.dayOfWeek: .dayOfWeek
        case Index.day: .day
        case Index.month: .month
        case Index.year: .year
        case Index.century: .century
        default: nil
        }
    }
}

extension RealTimeClockRegisters {
    var state: JSONValue {
        let held: JSONValue = held.map { .bytes($0.values) } ?? .null
        return [
            "index": .integer(Int64(index)), "registerA": .integer(Int64(a)), "registerB": .integer(Int64(b)),
            "secondsAheadOfHost": .integer(offset), "heldTime": held,
            "memory": .bytes(memory),
        ]
    }

    init(state: SavedValue) throws(StateError) {
        self = try state.read { (fields) throws(StateError) in
            var restored = RealTimeClockRegisters()
            restored.index = try fields.integer("index", in: 0...Self.byteCount - 1)
            restored.a = try fields.integer("registerA", in: 0...0x7F)
            restored.b = try fields.integer("registerB")
            restored.offset = try fields.integer("secondsAheadOfHost", in: Self.offsetRange)
            restored.memory = try fields.bytes("memory", count: Self.byteCount...Self.byteCount)
            let count = ClockFields.Field.allCases.count
            let held = try fields.optional("heldTime") { (held) throws(StateError) in try held.bytes(count: count...count) }
            restored.held = held.flatMap { ClockFields(values: $0) }
            guard (restored.held == nil) == restored.isRunning else {
                throw fields.error("heldTime", expected: "null exactly when registers A and B let the clock run")
            }
            return restored
        }
    }
}
