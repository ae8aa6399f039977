import Host
import Hypervisor

/// The countdown timer in the registers of a local APIC (Intel SDM volume 3, 11.5.4).
struct APICTimer {
    private enum Offset {
        static let entry = 0x320
        static let initial = 0x380
        static let current = 0x390
    }
    /// Bits 18:17 of the entry are 2 when the timer compares with the time stamp counter instead of counting.
    private static let modeShift: UInt32 = 17
    private static let deadlineMode: UInt32 = 2

    private(set) var registers: [UInt8]

    /// The timer in a page of registers, as KVM gives it.
    init(_ registers: [UInt8]) { self.registers = registers }

    /// Where the timer is while it counts; setting it starts or, with nil, stops it.
    var countdown: MachineClock.Countdown? {
        get {
            let initial = load(Offset.initial)
            let current = load(Offset.current)
            guard load(Offset.entry) >> Self.modeShift & 3 != Self.deadlineMode, initial != 0, current != 0 else { return nil }
            return MachineClock.Countdown(initial: initial, current: current)
        }
        set {
            store(newValue?.initial ?? 0, Offset.initial)
            store(newValue?.current ?? 0, Offset.current)
        }
    }

    /// Starts or stops the timer of a CPU that stands still; KVM counts on from the current count.
    static func set(_ countdown: MachineClock.Countdown?, of cpu: borrowing KVMVirtualCPU) throws(SystemError) {
        var timer = APICTimer(try cpu.lapic())
        timer.countdown = countdown
        try cpu.setLAPIC(timer.registers)
    }

    private func load(_ offset: Int) -> UInt32 {
        guard offset + 4 <= registers.count else { return 0 }
        return (0..<4).reduce(0) { $0 | UInt32(registers[offset + $1]) << UInt32(8 * $1) }
    }

    private mutating func store(_ value: UInt32, _ offset: Int) {
        guard offset + 4 <= registers.count else { return }
        for index in 0..<4 { registers[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(8 * index)) }
    }
}
