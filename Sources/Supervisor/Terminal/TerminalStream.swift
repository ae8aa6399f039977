import CLinux
import Host
import Synchronization
import Virtqueue

/// Connects the terminal (or pipe) that swvmm was started on with the one stream of the VM that has it.
///
/// The VM's side is a socket, never the terminal: a device can neither change the terminal's mode nor see the escape key. A terminal is in
/// raw mode while this lives. The end of a pipe reaches the guest as Ctrl-D, after everything before it has been read.
final class TerminalStream: Sendable {
    /// What the session is to do.
    enum Request: Sendable, Equatable {
        case quit
        case powerButton
    }

    /// Bytes that wait for room on one of the two ways.
    private static let capacity = 65536
    /// What is written at once: what has room for anything has room for so much (PIPE_BUF).
    private static let mostAtOnce = 4096
    /// How long a reader of last words may be silent, and how long it may take, in milliseconds.
    static let silence: Int64 = 500
    private static let lastWords: Int64 = 10_000
    private static let endOfInput: UInt8 = 0x04

    private struct State: ~Copyable {
        var mode: TerminalMode?
        var keys = EscapeKeys()
        var toGuest: [UInt8] = []
        var toTerminal: [UInt8] = []
        /// Bytes that the terminal has got.
        var written = 0
        var inputEnded = false
        var endSent = false
        var vmEnded = false
        var inputIsPolled = false
        var socketIsPolled = false
        var outputIsPolled = false
    }

    private let input: OwnedDescriptor
    private let output: OwnedDescriptor
    private let socket: OwnedDescriptor
    private let guestEnd: Slot<OwnedDescriptor>
    private let hasEscapeKey: Bool
    private let state: Mutex<State>
    private let resizing = Mutex<(@Sendable (WindowSize) -> Void)?>(nil)

    /// Opens the standard streams; nil when no stream of the VM wants them.
    convenience init?(needed: Bool) throws(VMError) {
        guard needed else { return nil }
        let parts = try VMError.host("open the terminal") { () throws(SystemError) in
            try Parts.open()
        }
        self.init(parts)
    }

    /// Connects these, of which the input may be a terminal. `output` may be shared with other processes, and then waits when it is full.
    convenience init(input: consuming OwnedDescriptor, output: consuming OwnedDescriptor) throws(SystemError) {
        self.init(try Parts.make(input, output))
    }

    private init(_ parts: consuming Parts) {
        hasEscapeKey = parts.mode != nil
        input = parts.input
        output = parts.output
        socket = parts.socket
        guestEnd = Slot(parts.guestEnd)
        state = Mutex(State(mode: parts.mode))
    }

    private struct Parts: ~Copyable {
        let input: OwnedDescriptor
        let output: OwnedDescriptor
        let socket: OwnedDescriptor
        let guestEnd: OwnedDescriptor
        let mode: TerminalMode?

        static func open() throws(SystemError) -> Parts {
            let input = try OwnedDescriptor.reopeningStandardStream(0, flags: O_RDONLY)
            // Only what is opened anew gets the flag: nobody else's writes become non-blocking.
            let output = try OwnedDescriptor.reopeningStandardStream(1, flags: O_WRONLY | O_NONBLOCK)
            return try make(input, output)
        }

        static func make(_ input: consuming OwnedDescriptor, _ output: consuming OwnedDescriptor) throws(SystemError) -> Parts {
            let pair = try SocketPair()
            try pair.first.setNonBlocking()
            let mode = input.isTerminal() ? try TerminalMode(raw: try input.duplicate()) : nil
            return Parts(input: input, output: output, socket: pair.first, guestEnd: pair.second, mode: mode)
        }
    }

    /// The VM's end, for the one stream that has the terminal.
    func takeGuestEnd() -> OwnedDescriptor? { guestEnd.take() }

    /// Calls `body` with the terminal's size now and whenever it changes.
    func onResize(_ body: @escaping @Sendable (WindowSize) -> Void) {
        resizing.withLock { $0 = body }
        windowChanged()
    }

    /// The terminal's size may have changed (SIGWINCH).
    func windowChanged() {
        guard let size = state.withLock({ $0.mode?.windowSize() }), let body = resizing.withLock({ $0 }) else { return }
        body(size)
    }

    // MARK: The session's loop

    /// Before every wait: says what to wait for, with `token` and the two after it. True when something is ready without waiting.
    func updateWaiting(_ poller: borrowing Poller, token: UInt64) -> Bool {
        state.withLock { state in
            let wantsInput = !state.inputEnded && state.toGuest.count < Self.capacity
            let readsVM = !state.vmEnded && state.toTerminal.count < Self.capacity
            let isPolled = Self.wait(poller, input.rawValue, token: token, readable: wantsInput, writable: false, &state.inputIsPolled)
            _ = Self.wait(
                poller, socket.rawValue, token: token + 1, readable: readsVM, writable: !state.toGuest.isEmpty && !state.vmEnded,
                &state.socketIsPolled)
            _ = Self.wait(
                poller, output.rawValue, token: token + 2, readable: false, writable: !state.toTerminal.isEmpty, &state.outputIsPolled)
            // A regular file or /dev/null cannot be polled: it is always ready.
            return wantsInput && !isPolled
        }
    }

    /// Waits for these on a descriptor, or takes it out of the set when for nothing: a pipe whose other end is closed says so again and
    /// again, whether one waits for it or not. False when it cannot be waited for.
    private static func wait(
        _ poller: borrowing Poller, _ raw: Int32, token: UInt64, readable: Bool, writable: Bool, _ isPolled: inout Bool
    ) -> Bool {
        let isWanted = readable || writable
        do throws(SystemError) {
            switch (isPolled, isWanted) {
            case (true, true): try poller.modify(raw, token: token, readable: readable, writable: writable)
            case (true, false): try poller.remove(raw)
            case (false, true): try poller.add(raw, token: token, readable: readable, writable: writable)
            case (false, false): break
            }
            isPolled = isWanted
            return true
        } catch { return false }
    }

    /// Moves bytes on. Harmless at any time; called for every event of ours, and when `updateWaiting` said that something is ready.
    func move() -> Request? {
        state.withLock { state in
            let request = readInput(&state)
            flushToGuest(&state)
            moveOutput(&state)
            return request
        }
    }

    /// Whether the end of the input still has to reach the guest: it is looked at again a little later.
    var hasPendingEnd: Bool { state.withLock { $0.inputEnded && !$0.endSent } }

    private func readInput(_ state: inout State) -> Request? {
        guard !state.inputEnded, state.toGuest.count < Self.capacity, input.hasInputWaiting() else { return nil }
        guard let bytes = try? input.readSome(4096) else { return nil }
        if bytes.isEmpty { state.inputEnded = true }
        guard hasEscapeKey else {
            state.toGuest += bytes
            return nil
        }
        let (forwarded, commands) = state.keys.filter(bytes)
        state.toGuest += forwarded
        for command in commands {
            switch command {
            case .quit: return .quit
            case .powerButton: return .powerButton
            case .help: state.toTerminal += Array(EscapeKeys.help.utf8)
            }
        }
        return nil
    }

    private func flushToGuest(_ state: inout State) {
        while !state.toGuest.isEmpty, let sent = try? socket.send(state.toGuest.span.untyped), sent > 0 { state.toGuest.removeFirst(sent) }
        guard state.inputEnded, !state.endSent, state.toGuest.isEmpty, (try? socket.peerHasReadAll()) == true else { return }
        state.endSent = true
        state.toGuest = [Self.endOfInput]
        if let sent = try? socket.send(state.toGuest.span.untyped), sent > 0 { state.toGuest = [] }
    }

    private func moveOutput(_ state: inout State) {
        if !state.vmEnded, state.toTerminal.count < Self.capacity {
            do throws(SystemError) {
                let bytes = try socket.readSome(16384)
                state.toTerminal += bytes
                state.vmEnded = bytes.isEmpty
            } catch { state.vmEnded = error.errno != .wouldBlock }
        }
        writeOutput(&state)
    }

    /// Writes what there is room for. A pipe may block, because it is shared with whoever started us; if its reader stops, the loop that calls
    /// this must still see signals and clients. So nothing is written that was not found to have room.
    private func writeOutput(_ state: inout State) {
        var position = 0
        let count = state.toTerminal.count
        do throws(SystemError) {
            while position < count, try output.waitWritable(milliseconds: 0) {
                let end = min(position + Self.mostAtOnce, count)
                position += try output.write(state.toTerminal.span.extracting(position..<end).untyped)
            }
        } catch {
            // A closed pipe: nobody reads on, so nothing is kept.
            if error.errno != .wouldBlock { position = count }
        }
        state.toTerminal.removeFirst(position)
        state.written &+= position
    }

    /// Passes on what the VM said last, as long as the reader does not stop for `silence` milliseconds, and gives the terminal its mode back.
    func finish(silence: Int64 = TerminalStream.silence) {
        let end = MonotonicTime.now + max(Self.lastWords, silence)
        var deadline = MonotonicTime.now + silence
        while MonotonicTime.now < min(deadline, end) {
            let (isDone, isFull, hasMoved) = state.withLock { state in
                let before = state.toTerminal.count
                let written = state.written
                moveOutput(&state)
                let isEmpty = state.toTerminal.isEmpty
                let isDone = isEmpty && (state.vmEnded || (before == 0 && !socket.hasInputWaiting()))
                return (isDone, !isEmpty, state.written != written)
            }
            if isDone { break }
            if hasMoved { deadline = MonotonicTime.now + silence }
            if isFull { _ = try? output.waitWritable(milliseconds: 20) }
        }
        state.withLock { $0.mode = nil }
    }
}
