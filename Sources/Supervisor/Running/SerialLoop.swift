import Host
import VirtualMachine

/// What a loop does for the serial port of a machine in its own process: input comes in, and output goes out after a moment's wait for company.
struct SerialLoop: ~Copyable {
    private let machine: VirtualMachine
    private let host: SerialHost
    private var flushAt: Int64?

    /// The events that belong here.
    private enum Token {
        static let pending: UInt64 = 32
        static let room: UInt64 = 33
        /// And the one after it.
        static let backend: UInt64 = 34
    }

    /// Serial output waits at most this long for company, in milliseconds.
    private static let delay: Int64 = 5

    /// Has `poller` wait for all that matters to the port, with tokens from 32 to 35.
    init(_ machine: VirtualMachine, _ host: SerialHost, _ poller: borrowing Poller) throws(SystemError) {
        self.machine = machine
        self.host = host
        try poller.add(machine.serialPending.rawValue, token: Token.pending)
        try poller.add(machine.serialRoom.rawValue, token: Token.room)
        host.beginWaiting(token: Token.backend)
    }

    /// Before every wait: whether something is ready without waiting, and when to come back at the latest.
    mutating func prepareToWait(_ poller: borrowing Poller) throws(SystemError) -> (isReady: Bool, due: Int64?) {
        if let due = flushAt, MonotonicTime.now >= due {
            machine.flushSerial()
            flushAt = nil
        }
        return (try host.updateWaiting(poller), flushAt)
    }

    /// Takes an event; those of others are left alone.
    mutating func handle(_ event: PollEvent, _ poller: borrowing Poller) {
        switch event.token {
        case Token.pending:
            machine.serialPending.drain()
            flushAt = flushAt ?? MonotonicTime.now + Self.delay
        case Token.room:
            machine.serialRoom.drain()
            host.pass(to: machine)
        case Token.backend, Token.backend + 1: host.handle(event, poller: poller, machine: machine)
        default: break
        }
    }
}
