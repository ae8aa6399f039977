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
    private let child: Mutex<DeviceChild?>
    private let program = Mutex(ProgramFile.running)
    /// The machine that has the device's front-end.
    private let machine = Mutex<(any DeviceHolder)?>(nil)
    private let restarts = RestartCount()

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
        child = Mutex(nil)
    }

    /// The process that serves the device now; nil while there is none.
    var process: DeviceChild? { child.withLock { $0 } }

    /// Starts a process. What is sent on the socket is read as soon as the process's jail is closed.
    func start() throws(VMError) -> OwnedDescriptor {
        let pair = try VMError.host("make a socket") { () throws(SystemError) in try SocketPair() }
        let started = try descriptors.withLock { (descriptors) throws(VMError) in
            try DeviceChild(brief, id: id, program: program.withLock { $0 }, socket: pair.second, descriptors)
        }
        child.withLock { $0 = started }
        return try VMError.host("keep a socket") { () throws(SystemError) in try pair.first.duplicate() }
    }

    /// From now on this machine is told of other processes.
    func use(_ machine: any DeviceHolder) { self.machine.withLock { $0 = machine } }

    /// Ends a process that does not answer as it should: it may still have the guest's RAM. Its keeper sees it end.
    func kill(hangs: Bool) { process?.kill(hangs: hangs) }

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
        let socket = try start()
        do { try machine.recover(id, socket) } catch {
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
            let socket = try start()
            try machine.handOver(id, to: socket)
        } catch {
            let failed = child.withLock { child in
                defer { child = old }
                return child
            }
            program.withLock { $0 = before }
            let why = failed === old ? "" : failed?.finish(afterMilliseconds: 1000).sentence ?? ""
            throw VMError(.failure, "Device \"\(id)\" stays where it was: \(error.message) \(why)")
        }
        _ = old.finish(afterMilliseconds: 2000)
    }

    /// The driver need not wait for another process.
    func giveUp() { machine.withLock { $0 }?.giveUp(id) }

    /// Asks the process to end.
    func hangUp() { process?.hangUp() }

    /// Ends the process, which gets `milliseconds` to do so by itself.
    func finish(afterMilliseconds milliseconds: Int32) { _ = process?.finish(afterMilliseconds: milliseconds) }
}
