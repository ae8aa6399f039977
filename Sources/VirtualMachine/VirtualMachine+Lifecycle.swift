import Host
import Hypervisor
import Machine
public import Synchronization

// created → running ⇄ asleep → stopped.

extension VirtualMachine {
    /// Puts the machine to sleep: its CPUs stand still, its devices have finished what was in flight, its clocks are read. False when it
    /// sleeps already.
    ///
    /// When a step fails, the steps before it are undone, and the guest runs on.
    public func sleep() throws(MachineError) -> Bool {
        try life.withLock { (life) throws(MachineError) in
            guard life.phase != .asleep else { return false }
            try checkAlive(life)
            guard threads.stand() else {
                throw MachineError("A virtual CPU did not stand still in time; the guest runs on.")
            }
            inputs.withLock { $0.isClosed = true }
            do throws(MachineError) {
                // The guest may have ended on the way.
                try checkAlive(life)
                try devices.sleep()
            } catch {
                goOn()
                throw error
            }
            platform.serial.flush()
            do throws(SystemError) {
                life.clock = try MachineClock.capture(hypervisor, threads)
            } catch {
                try? devices.wake()
                goOn()
                throw MachineError("The guest's clocks cannot be read (\(error)).")
            }
            enter(.asleep, &life)
            return true
        }
    }

    /// Wakes the machine: clocks go on, every queue is looked at once, every interrupt is raised once. False when it is awake already.
    ///
    /// When a step fails, the machine sleeps on.
    public func wake() throws(MachineError) -> Bool {
        try life.withLock { (life) throws(MachineError) in
            guard life.phase != .running else { return false }
            try checkAlive(life)
            do throws(SystemError) {
                try life.clock?.apply(to: hypervisor, threads, policy: life.clockPolicy)
            } catch {
                throw MachineError("The guest's clocks cannot be set (\(error)).")
            }
            try devices.wake()
            if let generation = life.newGeneration {
                generation.write(into: memory)
                platform.events.raise(.newGeneration)
                life.newGeneration = nil
            }
            platform.resume(isInFlight: vectorsInFlight())
            life.clock = nil
            life.clockPolicy = .resume
            goOn()
            enter(.running, &life)
            return true
        }
    }

    /// Fails when the machine has come to its end.
    func checkAlive(_ life: borrowing Life) throws(MachineError) {
        if life.phase == .stopped || end.reason != nil { throw MachineError("The machine has come to its end.") }
    }

    func enter(_ phase: MachinePhase, _ life: inout Life) {
        life.phase = phase
        shownPhase.store(phase, ordering: .releasing)
    }

    /// Lets input in again, and the CPUs run.
    private func goOn() {
        let pressed = inputs.withLock { inputs in
            defer { inputs = Inputs() }
            return inputs.powerButton
        }
        if pressed { platform.events.pressPowerButton() }
        serialPump.events.room.signal()
        threads.run()
    }

    /// The vectors that some local APIC has accepted and not ended: requested or in service.
    private func vectorsInFlight() -> (UInt8) -> Bool {
        var bits = [UInt8](repeating: 0, count: 32)
        threads.forEach { cpu in
            guard let registers = try? cpu.lapic() else { return }
            // ISR and IRR: eight registers of 32 bits each, 16 bytes apart (Intel SDM volume 3, 11.8.4).
            for index in bits.indices {
                let offset = index / 4 * 16 + index % 4
                guard 0x200 + offset < registers.count else { return }
                bits[index] |= registers[0x100 + offset] | registers[0x200 + offset]
            }
        }
        return { vector in bits[Int(vector) / 8] & 1 << (vector % 8) != 0 }
    }
}

/// Where a machine is in its life.
public enum MachinePhase: UInt8, Sendable, AtomicRepresentable {
    /// It has been put together, and has not run yet.
    case created
    /// The guest runs.
    case running
    /// Nothing moves; the state is complete.
    case asleep
    /// It has been stopped for good.
    case stopped

    /// Its name.
    public var name: String {
        switch self {
        case .created: "created"
        case .running: "running"
        case .asleep: "asleep"
        case .stopped: "stopped"
        }
    }
}
