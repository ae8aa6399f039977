import Host
import Hypervisor

/// What the guest's clocks do about the time that has passed since it fell asleep.
public enum ClockPolicy: String, Sendable, CaseIterable {
    /// They go on from where they were.
    case resume
    /// They advance by the time that has passed on the host.
    case realtime
}

/// The guest's time at the moment when it fell asleep. Every wake takes it up again exactly once, also the one after a restore, so that no
/// clock of the guest runs backwards, and none notices the pause.
struct MachineClock: Sendable, Equatable {
    /// The time stamp counters of one virtual CPU.
    struct CPU: Sendable, Equatable {
        /// IA32_TSC.
        var tsc: UInt64
        /// IA32_TSC_DEADLINE: when the timer of the local APIC fires; 0 when it is not armed.
        var deadline: UInt64
        /// The timer of the local APIC when it counts down, once or again and again; nil when it does not.
        var countdown: Countdown?
    }

    /// A timer that counts down.
    struct Countdown: Sendable, Equatable {
        /// Where it starts: the initial count register.
        var initial: UInt32
        /// Where it is: the current count register.
        var current: UInt32
    }

    /// The KVM clock in nanoseconds.
    var kvmclock: UInt64
    /// The host's real time in nanoseconds since 1970.
    var realTime: UInt64
    /// The frequency of the guest's time stamp counters in kHz.
    var tscKHz: UInt32
    /// The CPUs' counters, all at the same moment.
    var cpus: [CPU]

    private static let tscIndex: UInt32 = 0x10
    private static let deadlineIndex: UInt32 = 0x6e0

    /// Reads the clocks of a machine whose CPUs stand still, and stops their timers: what fired while the guest sleeps would be lost to a
    /// snapshot.
    static func capture(_ machine: KVMVirtualMachine, _ threads: VCPUThreads) throws(SystemError) -> MachineClock {
        let clock = try machine.clock()
        var cpus: [CPU] = []
        var first: (tsc: UInt64, offset: UInt64)?
        var frequency: UInt32 = 0
        try threads.forEach { (cpu) throws(SystemError) in
            let registers = try cpu.msrs([tscIndex, deadlineIndex])
            var own = CPU(tsc: registers.value(of: tscIndex), deadline: registers.value(of: deadlineIndex))
            own.countdown = APICTimer(try cpu.lapic()).countdown
            if let offset = try cpu.tscOffset() {
                // Counters are read one after the other; what they differ by at one moment is what their offsets differ by.
                if let first { own.tsc = first.tsc &+ (offset &- first.offset) } else { first = (own.tsc, offset) }
            }
            frequency = try cpu.tscKHz()
            cpus.append(own)
        }
        // Only now, when nothing can fail any more: a timer that goes on is an interrupt too early, one that was stopped in vain is one too
        // few.
        var rest = cpus[...]
        threads.forEach { cpu in
            guard let own = rest.popFirst() else { return }
            if own.deadline != 0 { _ = try? cpu.setMSRs([KVMMSREntry(index: deadlineIndex, data: 0)]) }
            if own.countdown != nil { try? APICTimer.set(nil, of: cpu) }
        }
        return MachineClock(kvmclock: clock.clock, realTime: WallTime.now().sinceEpoch, tscKHz: frequency, cpus: cpus)
    }

    /// Gives the time back to a machine whose CPUs still stand. The KVM clock first: it says when all begins.
    func apply(
        to machine: KVMVirtualMachine, _ threads: VCPUThreads, policy: ClockPolicy
    ) throws(SystemError) {
        var advanced: UInt64 = 0
        if policy == .realtime {
            let now = WallTime.now().sinceEpoch
            advanced = now > realTime ? now - realTime : 0
        }
        // Seconds and the rest apart, since the product of all would not fit; a frequency that no processor has wraps.
        let ticks =
            advanced / 1_000_000_000 &* UInt64(tscKHz) &* 1000 &+ advanced % 1_000_000_000 &* UInt64(tscKHz) / 1_000_000
        var index = 0
        var hostTSC: UInt64?
        try machine.setClock(KVMClockData(clock: kvmclock &+ advanced))
        try threads.forEach { (cpu) throws(SystemError) in
            guard index < cpus.count else { return }
            let own = cpus[index]
            index += 1
            let wanted = own.tsc &+ ticks
            if try !Self.setOffset(wanted, of: cpu, &hostTSC) {
                _ = try cpu.setMSRs([KVMMSREntry(index: Self.tscIndex, data: wanted)])
            }
            // The timer compares with the counter, which therefore comes first.
            if own.deadline != 0 { _ = try cpu.setMSRs([KVMMSREntry(index: Self.deadlineIndex, data: own.deadline)]) }
            if let countdown = own.countdown { try APICTimer.set(countdown, of: cpu) }
            try Self.tellOfPause(cpu)
        }
    }

    /// Lets the guest's watchdogs know; a guest without a KVM clock cannot be told.
    private static func tellOfPause(_ cpu: borrowing KVMVirtualCPU) throws(SystemError) {
        do throws(SystemError) { try cpu.notifyPaused() } catch {
            guard error.errno == .invalidArgument else { throw error }
        }
    }

    /// Makes the counter `wanted` by its offset to the host's; false where KVM cannot. All CPUs use one reading of the host's counter.
    private static func setOffset(
        _ wanted: UInt64, of cpu: borrowing KVMVirtualCPU, _ hostTSC: inout UInt64?
    ) throws(SystemError) -> Bool {
        guard let offset = try cpu.tscOffset() else { return false }
        let host: UInt64
        if let hostTSC { host = hostTSC } else { host = try cpu.msrs([tscIndex]).value(of: tscIndex) &- offset }
        hostTSC = host
        return try cpu.setTSCOffset(wanted &- host)
    }
}

extension [KVMMSREntry] {
    /// The value of a register; 0 for one that the host does not have.
    func value(of index: UInt32) -> UInt64 { first { $0.index == index }?.data ?? 0 }
}
