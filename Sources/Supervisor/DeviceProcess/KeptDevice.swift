import Host
import Synchronization

/// A device of a VM in a process of its own, with all that is needed to start that process again.
final class KeptDevice: Sendable {
    let id: String
    private let brief: DeviceBrief
    /// What the process gets. The originals stay here: the next one needs them, too.
    private let descriptors: Mutex<PassedDescriptors>
    /// Opens the descriptors anew, for a device whose host side does not survive its process; nil for all others.
    private let reopen: (@Sendable () throws(VMError) -> Slot<PassedDescriptors>)?
    private let processes = Mutex(Processes())
    private let program = Mutex(ProgramFile.running)
    /// The machine that has the device's front-end.
    private let machine = Mutex<(any DeviceHolder)?>(nil)
    private let restarts = RestartCount()

    /// The processes of the device.
    private struct Processes: Sendable {
        /// The one that serves it.
        var current: Kept?
        /// The one that is about to take its place.
        var next: Kept?
        /// How many there have been.
        var count = 0

        struct Kept: Sendable {
            let child: DeviceChild
            /// Its number, from 0.
            let turn: Int
        }
    }

    /// How long an answer of a process may take before it is killed, and what the driver asks for may wait for another process.
    static let patience: Int64 = 5_000
    static let recovery: Int64 = 20_000
    /// How long I/O that an ended process has submitted may be under way.
    static let settling: Int64 = 30_000
    private static let glance: Int64 = 50

    init(
        id: String, brief: DeviceBrief, descriptors: consuming PassedDescriptors,
        reopen: (@Sendable () throws(VMError) -> Slot<PassedDescriptors>)?
    ) {
        self.id = id
        self.brief = brief
        self.reopen = reopen
        self.descriptors = Mutex(descriptors)
    }

    /// The process that serves the device now; nil while there is none.
    var process: DeviceChild? { processes.withLock { $0.current?.child } }

    /// Starts the device's first process. What is sent on the socket is read as soon as the process's jail is closed.
    func start() throws(VMError) -> OwnedDescriptor {
        var turn = 0
        return try start(&turn) { $0.current = $1 }
    }

    /// Starts a process, which `place` gets to keep, and tells its number.
    private func start(_ turn: inout Int, _ place: (inout Processes, Processes.Kept) -> Void) throws(VMError) -> OwnedDescriptor {
        let pair = try VMError.host("make a socket") { () throws(SystemError) in try SocketPair() }
        let started = try descriptors.withLock { (descriptors) throws(VMError) in
            try DeviceChild(brief, id: id, program: program.withLock { $0 }, socket: pair.second, descriptors)
        }
        turn = processes.withLock { processes in
            let kept = Processes.Kept(child: started, turn: processes.count)
            processes.count += 1
            place(&processes, kept)
            return kept.turn
        }
        return try VMError.host("keep a socket") { () throws(SystemError) in try pair.first.duplicate() }
    }

    /// From now on this machine is told of other processes.
    func use(_ machine: any DeviceHolder) { self.machine.withLock { $0 = machine } }

    /// Ends a process that does not answer as it should: it may still have the guest's RAM. Its keeper sees it end. One that another has
    /// replaced since has ended.
    func kill(turn: Int, hangs: Bool) {
        let kept = processes.withLock { [$0.current, $0.next] }
        for process in kept where process?.turn == turn { process?.child.kill(hangs: hangs) }
    }

    /// What the process says of its device, or said last: it is asked where nobody has time.
    var counters: [String: UInt64] { process?.counters(within: Self.glance) ?? [:] }

    /// Whether the process may be started once more.
    func mayRestart(_ limit: Int) -> Bool { restarts.mayRestart(limit) }

    /// Starts another process in the place of one that has ended, and gives it the device.
    func restart() throws(VMError) {
        guard let machine = machine.withLock({ $0 }) else { throw VMError(.failure, "Device \"\(id)\" has never worked.") }
        if let reopen {
            guard let fresh = try reopen().take() else { throw VMError(.failure, "Device \"\(id)\" has no host side.") }
            var slot: PassedDescriptors? = fresh
            descriptors.withLock { descriptors in
                if let fresh = slot.take() { descriptors = fresh }
            }
        }
        var turn = 0
        let socket = try start(&turn) { $0.current = $1 }
        do { try machine.recover(id, turn: turn, socket) } catch {
            throw VMError(.failure, "Device \"\(id)\" could not go on in another process: \(error)")
        }
    }

    /// Replaces the process by one of another program, of which nobody notices anything.
    func upgrade(to path: String) throws(VMError) {
        guard let machine = machine.withLock({ $0 }), let old = process else {
            throw VMError(.failure, "Device \"\(id)\" has no process.")
        }
        guard reopen == nil else {
            throw VMError(.failure, "Device \"\(id)\" cannot be upgraded: its stream cannot change hands between two frames.")
        }
        let before = program.withLock { program in
            defer { program = path }
            return program
        }
        do throws(VMError) {
            var turn = 0
            let socket = try start(&turn) { $0.next = $1 }
            try machine.handOver(id, turn: turn, to: socket)
            processes.withLock { processes in
                processes.current = processes.next
                processes.next = nil
            }
        } catch {
            program.withLock { $0 = before }
            throw VMError(.failure, "Device \"\(id)\" was not upgraded: \(error.message)\(endNext())")
        }
        _ = old.finish(afterMilliseconds: 2000)
    }

    /// Ends the process that was to take the other one's place; how that was, as a sentence.
    private func endNext() -> String {
        guard let next = processes.withLock({ $0.next })?.child else { return "" }
        defer { processes.withLock { $0.next = nil } }
        let end = next.finish(afterMilliseconds: 1000)
        // It may have had requests already. If the other one cannot go on either, a third process gets them again, which must not meet these.
        if !next.waitUntilSettled(milliseconds: Self.settling) {
            giveUp()
            return " \(end.sentence) Its I/O does not come to an end: the device fails."
        }
        return " \(end.sentence)"
    }

    /// The driver need not wait for another process.
    func giveUp() { machine.withLock { $0 }?.giveUp(id) }

    /// Asks the process to end.
    func hangUp() { process?.hangUp() }

    /// Ends the process, which gets `milliseconds` to do so by itself.
    func finish(afterMilliseconds milliseconds: Int32) { _ = process?.finish(afterMilliseconds: milliseconds) }
}
