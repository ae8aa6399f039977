import Host
import Logging
import Synchronization
import VhostUser

/// A device's back-end that is somebody else's program: watches the connection, and makes another one when it is lost.
///
/// Only the machine talks on the connection, of which this has another descriptor: it shows when the back-end lets go of its end. Before that
/// no other back-end is let near the guest's RAM.
final class ForeignBackEnd: Sendable {
    let id: String
    private let path: String
    private let connection: Mutex<OwnedDescriptor>
    private let settings: CrashSettings
    private let restarts = RestartCount()
    /// The machine that has the device's front-end.
    private let machine = Mutex<(any DeviceHolder)?>(nil)
    /// Signalled when the machine may have found something wrong with the connection.
    private let suspicion: EventFD
    private let isEnding = Atomic(false)
    private let worker = Mutex<WorkerThread<Bool>?>(nil)

    /// How long a back-end may stay away, in milliseconds.
    private let absence: Int64
    /// From one attempt to the next, in milliseconds: twice as long each time.
    private static let intervals: ClosedRange<Int64> = 50...1000

    /// Watches the connection `socket` to the back-end at `path`, of which it takes another descriptor.
    init(
        id: String, path: String, socket: borrowing OwnedDescriptor, _ settings: CrashSettings, absence: Int64 = 60_000
    ) throws(VMError) {
        (self.id, self.path, self.settings, self.absence) = (id, path, settings, absence)
        connection = Mutex(try Self.keep(socket))
        suspicion = try VMError.host("make an event") { () throws(SystemError) in try EventFD() }
    }

    private static func keep(_ socket: borrowing OwnedDescriptor) throws(VMError) -> OwnedDescriptor {
        try VMError.host("keep a socket") { () throws(SystemError) in try socket.duplicate() }
    }

    /// From now on this machine is told of other back-ends.
    func use(_ machine: any DeviceHolder) { self.machine.withLock { $0 = machine } }

    /// Begins to watch. `fail` is called when the VM has to end.
    func begin(fail: @escaping @Sendable (VMError) -> Void) throws(VMError) {
        let made = try VMError.host("start a thread") { () throws(SystemError) in
            try WorkerThread(name: "\(id)/peer", state: true) { [weak self] _, stop in self?.watch(until: stop, fail) }
        }
        worker.withLock { $0 = made }
    }

    /// The machine says that the connection has failed. It may speak of one that another has replaced since.
    func suspect() { suspicion.signal() }

    /// No other connection is made: the VM is about to end.
    func noMoreRestarts() { isEnding.store(true, ordering: .releasing) }

    /// Ends the watch.
    func stop() {
        noMoreRestarts()
        _ = worker.withLock { $0.take() }?.stop()
        machine.withLock { $0 = nil }
        hangUp()
    }

    private var name: String { "device \"\(id)\": its vhost-user back-end at \(path)" }

    // MARK: Watching

    private func watch(until stop: EventFD, _ fail: (VMError) -> Void) {
        while let reason = loss(stop) {
            guard let machine = machine.withLock({ $0 }) else { return }
            // Nobody need wait for another one.
            if isEnding.load(ordering: .acquiring) { return machine.giveUp(id) }
            let lost = "\(name) is lost: \(reason)"
            let logger = Logger(label: "swvmm.\(id)")
            switch settings.policy {
            case .stop: fail(VMError(.failure, "Device \"\(id)\" has failed: its vhost-user back-end at \(path) is lost: \(reason)"))
            case .failDevice: logger.error("\(lost) The device fails")
            case .restart:
                do throws(VMError) {
                    if try wait(for: machine, lost, logger, stop) { continue }
                    if stop.isSignalled { return }
                } catch {
                    // Whoever ends the VM ends back-ends, too.
                    if !isEnding.load(ordering: .acquiring) { logger.error("\(error.message) The device fails") }
                }
            }
            machine.giveUp(id)
            return
        }
    }

    /// Waits until the connection is lost, and says how; nil when it is time to stop.
    private func loss(_ stop: EventFD) -> String? {
        while true {
            var hasLeft = false
            var isStopped = false
            guard
                (try? poll(stop, also: suspicion) { token in
                    if token == Token.connection { hasLeft = true }
                    if token == Token.stop { isStopped = true }
                }) != nil
            else { return nil }
            if isStopped { return nil }
            if hasLeft { return "The back-end has left." }
            suspicion.drain()
            if let machine = machine.withLock({ $0 }), let failure = try? machine.failure(of: id) { return failure }
        }
    }

    private enum Token {
        static let connection: UInt64 = 0
        static let stop: UInt64 = 1
        static let suspicion: UInt64 = 2
    }

    private func poll(
        _ stop: EventFD, also other: EventFD? = nil, milliseconds: Int64? = nil, _ body: (UInt64) -> Void
    ) throws(SystemError) {
        let poller = try Poller()
        // What the back-end says is for the machine alone; that it has closed its end is always told.
        let raw = connection.withLock { $0.rawValue }
        try poller.add(raw, token: Token.connection, readable: false)
        try poller.add(stop.rawValue, token: Token.stop)
        if let other { try poller.add(other.rawValue, token: Token.suspicion) }
        try poller.wait(timeoutMilliseconds: milliseconds.map { Int32(clamping: $0) }) { body($0.token) }
    }

    // MARK: Another back-end

    /// Waits for another back-end, and gives it the device; false when it is time to stop.
    private func wait(
        for machine: any DeviceHolder, _ lost: String, _ logger: Logger, _ stop: EventFD
    ) throws(VMError) -> Bool {
        guard restarts.mayRestart(settings.maxRestarts) else {
            throw VMError(.failure, "\(lost) That was once too often within a minute.")
        }
        let deadline = MonotonicTime.now + absence
        let seconds = absence / 1000
        guard let departure = try letsGo(machine, lost, by: deadline, stop) else { return false }
        logger.warning("\(lost) Another one is waited for, up to \(seconds) seconds")
        var interval = Self.intervals.lowerBound
        var obstacle = ""
        while MonotonicTime.now < deadline {
            if isEnding.load(ordering: .acquiring) || stop.waitWithoutDraining(milliseconds: interval) { return false }
            interval = min(2 * interval, Self.intervals.upperBound)
            do throws(SystemError) {
                let fresh = try UnixSocket.connectWithoutWaiting(to: path)
                try replaceConnection(fresh)
            } catch {
                obstacle = "\(error.errno)."
                continue
            }
            do throws(VMError) {
                // It makes no difference which one it is: `suspect` looks for itself.
                try connection.withLock { (socket) throws(VMError) in try machine.recover(id, turn: 0, socket) }
                logger.warning("\(name) is back\(departure.caveat.map { ". \($0)" } ?? "")")
                return true
            } catch {
                obstacle = error.message
                guard try letsGo(machine, "\(lost) \(obstacle)", by: deadline, stop) != nil else { return false }
            }
        }
        throw VMError(.failure, "\(lost) No other one has come in \(seconds) seconds: \(obstacle)")
    }

    private func replaceConnection(_ socket: consuming OwnedDescriptor) throws(SystemError) {
        let fresh = try socket.duplicate()
        var slot: OwnedDescriptor? = fresh
        connection.withLock { connection in
            if let fresh = slot.take() { connection = fresh }
        }
    }

    /// Ends the connection and waits until the back-end has let go of its end; nil when it is time to stop.
    ///
    /// - Throws: why no other one can have the device.
    private func letsGo(
        _ machine: any DeviceHolder, _ lost: String, by deadline: Int64, _ stop: EventFD
    ) throws(VMError) -> VhostUserFrontend.Departure? {
        hangUp()
        var isStopped = false
        var hasLeft = false
        while !hasLeft {
            let left = deadline - MonotonicTime.now
            guard left > 0 else {
                throw VMError(.failure, "\(lost) It does not let go of the connection, and may still have the guest's RAM.")
            }
            do throws(SystemError) {
                try poll(stop, milliseconds: left) { if $0 == Token.connection { hasLeft = true } else { isStopped = true } }
            } catch {
                throw VMError(.host, "\(lost) The host could not wait for its end (\(error)).")
            }
            if isStopped { return nil }
        }
        let departure = try machine.noteLeft(id)
        if let obstacle = departure.obstacle { throw VMError(.failure, "\(lost) \(obstacle).") }
        return departure
    }

    private func hangUp() { connection.withLock { $0.hangUp() } }
}
