public import Host
public import Virtqueue

/// The host's side of a character stream, of a virtio console as well as of a serial port: takes output, gives input, never waits.
///
/// Output that nobody takes yet is kept, at most 64 KiB of it. What happens when more comes depends on who listens: a reader that somebody
/// connected on purpose and that will go on (`stream`, `file`) is waited for, which `room` tells; one that may never come back (a
/// pseudo-terminal, a socket's client) loses the oldest bytes. Used by one thread, which waits with its own `Poller`.
public struct CharacterBackend: ~Copyable, Sendable {
    /// What was found when input was asked for.
    public enum Input: Sendable, Equatable {
        /// That many bytes.
        case bytes(Int)
        /// Nothing at the moment.
        case nothing
        /// Nothing any more; for a listener, until the next client comes.
        case ended
    }

    /// The most bytes of output that are kept.
    public static let outputCapacity = 65536

    private let listener: Channel?
    /// The other end of a pseudo-terminal.
    private let terminal: Channel?
    private var channel: Channel?
    private var hasInput: Bool
    /// The other end is gone. What it left to read, if anything, is still there.
    private var hasHungUp = false
    /// The first byte of what it left, where nobody wanted it yet.
    private var leftover: UInt8?
    private let waitsForReader: Bool
    private let keepsOutput: Bool
    private var output = OutputRing(capacity: Self.outputCapacity)
    private var interest: PollInterest?
    private var listenerInterest: PollInterest?
    private var token: UInt64?
    /// Bytes that were lost because nobody took them in time, or because the reader is gone.
    public private(set) var hasLostOutput = false

    private init(
        channel: Channel? = nil, listener: Channel? = nil, terminal: Channel? = nil,
        hasInput: Bool, waitsForReader: Bool, keepsOutput: Bool = true
    ) {
        self.channel = channel
        self.listener = listener
        self.terminal = terminal
        self.hasInput = hasInput
        self.waitsForReader = waitsForReader
        self.keepsOutput = keepsOutput
    }

    /// A stream in both directions whose other end belongs to us: a socket that leads to the terminal.
    public static func stream(_ descriptor: consuming OwnedDescriptor) throws(SystemError) -> CharacterBackend {
        try descriptor.setNonBlocking()
        return CharacterBackend(channel: Channel(descriptor), hasInput: true, waitsForReader: true)
    }

    /// Output goes to a file, a pipe or a device that is open for writing; there is no input.
    public static func file(_ descriptor: consuming OwnedDescriptor) throws(SystemError) -> CharacterBackend {
        try descriptor.setNonBlocking()
        return CharacterBackend(channel: Channel(descriptor), hasInput: false, waitsForReader: true)
    }

    /// A pseudo-terminal.
    public static func pseudoTerminal(_ pair: consuming PseudoTerminal) throws(SystemError) -> CharacterBackend {
        try pair.controller.setNonBlocking()
        let (controller, terminal) = pair.takeEnds()
        return CharacterBackend(channel: controller, terminal: terminal, hasInput: true, waitsForReader: false)
    }

    /// A listening Unix socket: one client at a time, the next one when it has gone.
    public static func listener(_ descriptor: consuming OwnedDescriptor) throws(SystemError) -> CharacterBackend {
        try descriptor.setNonBlocking()
        return CharacterBackend(listener: Channel(descriptor), hasInput: false, waitsForReader: false)
    }

    /// Nowhere: output is dropped, there is no input.
    public static var null: CharacterBackend { CharacterBackend(hasInput: false, waitsForReader: false, keepsOutput: false) }

    /// The descriptors that a process which uses this back-end needs.
    public var descriptors: [Int32] {
        var all: [Int32] = []
        if let raw = channel?.descriptor.rawValue { all.append(raw) }
        if let raw = listener?.descriptor.rawValue { all.append(raw) }
        if let raw = terminal?.descriptor.rawValue { all.append(raw) }
        return all
    }

    // MARK: Waiting

    /// From now on `poller` is waited on; events of the back-end come with `token` and `token + 1`.
    public mutating func beginWaiting(token: UInt64) {
        self.token = token
        interest = nil
        if let raw = channel?.descriptor.rawValue { interest = PollInterest(raw, token: token) }
        listenerInterest = nil
        if let raw = listener?.descriptor.rawValue { listenerInterest = PollInterest(raw, token: token &+ 1) }
    }

    /// Tells the poller what to wait for; before every wait. `wantsInput` says whether there is a place for input. Returns true when
    /// something is ready without waiting, as regular files always are: the caller then polls without a timeout.
    public mutating func updateWaiting(_ poller: borrowing Poller, wantsInput: Bool) throws(SystemError) -> Bool {
        if hasHungUp { disconnectIfNothingIsLeft(poller, wantsInput: wantsInput) }
        let hasChannel = interest != nil
        let wantsToRead = wantsInput && hasInput
        // A hang-up is told of again and again for as long as the descriptor is in the set, so it stays there only until the first time. Then
        // it comes back when there is a place for what was left to read; output is of no use to it.
        try interest?.update(poller, readable: wantsToRead, writable: !hasHungUp && output.count > 0, hangUps: !hasHungUp)
        try listenerInterest?.update(poller, readable: !hasChannel, writable: false)
        return interest?.isAlwaysReady == true && (wantsToRead || output.count > 0)
    }

    /// Takes an event of `token` or `token + 1`: connects and disconnects clients, and writes what is kept.
    public mutating func handle(_ event: PollEvent, poller: borrowing Poller) {
        guard let token, event.token == token || event.token == token &+ 1 else { return }
        if event.token == token {
            // Whoever hung up may have left something to read: the channel goes when that has been read.
            if event.hungUp { hasHungUp = true }
            if hasHungUp, !hasInput { disconnect(poller) }
            flush()
        } else if channel == nil, let client = try? acceptClient() {
            interest = PollInterest(client.descriptor.rawValue, token: token)
            channel = client
            hasInput = true
            flush()
        }
    }

    private func acceptClient() throws(SystemError) -> Channel {
        guard let listener else { throw SystemError("accept4", .wouldBlock) }
        let client = try UnixSocket.accept(on: listener.descriptor)
        try client.setNonBlocking()
        return Channel(client)
    }

    /// The other end is gone.
    private mutating func disconnect(_ poller: borrowing Poller) {
        try? interest?.update(poller, readable: false, writable: false)
        interest = nil
        channel = nil
        hasInput = false
        hasHungUp = false
        leftover = nil
    }

    /// The other end is gone: the channel goes as well, so that the next client can come, unless something is left to read. When input is
    /// wanted, its reader finds that out.
    private mutating func disconnectIfNothingIsLeft(_ poller: borrowing Poller, wantsInput: Bool) {
        if hasInput, leftover == nil, !wantsInput { readAhead() }
        if !hasInput { disconnect(poller) }
    }

    /// Reads one byte, which is the only way to tell whether there is one that works on every kind of descriptor.
    private mutating func readAhead() {
        var byte: InlineArray<1, UInt8> = [0]
        var span = byte.mutableSpan
        var bytes = span.untyped
        // Nothing now means nothing ever: nobody is there who could write it.
        if case .bytes = read(into: &bytes) { leftover = byte[0] } else { hasInput = false }
    }

    /// `poller` is waited on no longer.
    public mutating func endWaiting(_ poller: borrowing Poller) {
        try? interest?.update(poller, readable: false, writable: false)
        try? listenerInterest?.update(poller, readable: false, writable: false)
        interest = nil
        listenerInterest = nil
        token = nil
    }

    // MARK: Output

    /// Bytes of output that can be taken without losing any; unlimited where nobody is waited for.
    public var room: Int { waitsForReader && channel != nil ? output.room : .max }

    /// Whether there is output that nobody has taken yet.
    public var hasOutput: Bool { output.count > 0 }

    /// Takes bytes of output and writes as much as can be written.
    public mutating func write(_ bytes: RawSpan) {
        guard keepsOutput else { return }
        note(lost: output.append(bytes))
        flush()
    }

    /// Consumes up to `limit` bytes of a chain as output. The caller calls `flush` when it has no more.
    public mutating func take(from chain: inout ReadableHalf, limit: Int = .max) {
        guard keepsOutput else {
            chain.skip(limit)
            return
        }
        note(lost: output.append(from: &chain, limit: limit))
    }

    private mutating func note(lost: Bool) {
        guard lost else { return }
        hasLostOutput = true
        // The terminal's own buffer holds what is older still.
        if let terminal { terminal.descriptor.discardUnreadInput() }
    }

    /// Writes as much of the kept output as can be written now.
    public mutating func flush() {
        while output.count > 0, let channel {
            do throws(SystemError) {
                output.removeFirst(try channel.descriptor.writeQuietly(output.front))
            } catch {
                guard error.errno != .wouldBlock else { return }
                // A reader that is gone (the hang-up is handled when it is reported), a full disk: a client that comes later starts anew.
                hasLostOutput = true
                output.removeFirst(output.count)
            }
        }
    }

    // MARK: Input

    /// Reads input straight into a chain and consumes what it took.
    public mutating func read(into chain: inout WritableHalf) -> Input {
        guard hasInput, let channel, chain.count > 0 else { return channel == nil || !hasInput ? .ended : .nothing }
        if let byte = leftover.take() {
            chain.writeInteger(byte)
            return .bytes(1)
        }
        do throws(SystemError) {
            let count = try channel.descriptor.read(into: chain.ranges)
            chain.skip(count)
            return ended(count)
        } catch {
            return failed(error)
        }
    }

    /// Reads input; at least one byte must fit.
    public mutating func read(into bytes: inout MutableRawSpan) -> Input {
        guard hasInput, let channel else { return .ended }
        if let byte = leftover.take() {
            bytes.storeBytes(of: byte, as: UInt8.self)
            return .bytes(1)
        }
        do throws(SystemError) {
            let count = try channel.descriptor.read(into: &bytes)
            return ended(count)
        } catch {
            return failed(error)
        }
    }

    private mutating func ended(_ count: Int) -> Input {
        if count > 0 { return .bytes(count) }
        hasInput = false
        return .ended
    }

    private mutating func failed(_ error: SystemError) -> Input {
        if error.errno == .wouldBlock { return .nothing }
        hasInput = false
        return .ended
    }
}

/// A descriptor that can be looked at while the back-end changes: a client comes and goes.
private final class Channel: Sendable {
    let descriptor: OwnedDescriptor

    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
}

extension PseudoTerminal {
    fileprivate consuming func takeEnds() -> (Channel, Channel) {
        let parts = (Channel(controller), Channel(terminal))
        return parts
    }
}

/// A descriptor in an optional: those of `~Copyable` values cannot be looked into yet without taking the value out.
private final class Shared: Sendable {
    let descriptor: OwnedDescriptor
    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
}

extension OwnedDescriptor {
    /// Writes to a socket, a file or a terminal; a reader that has gone is an error and never a signal.
    fileprivate borrowing func writeQuietly(_ range: HostRange) throws(SystemError) -> Int {
        let ranges: InlineArray<1, HostRange> = [range]
        do throws(SystemError) {
            return try send(from: ranges.span)
        } catch {
            guard error.errno == .notSocket else { throw error }
            return try write(from: ranges.span)
        }
    }
}
