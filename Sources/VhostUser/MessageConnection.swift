import Host
import Virtqueue

/// A message that came in whole, with its descriptors.
struct ReceivedMessage: ~Copyable {
    let header: MessageHeader
    let payload: [UInt8]
    var descriptors: PassedDescriptors

    /// Its descriptors, alone.
    consuming func takeDescriptors() -> PassedDescriptors { descriptors }
}

/// Sends and receives whole messages on a Unix stream socket.
struct MessageConnection: ~Copyable, Sendable {
    private let socket: OwnedDescriptor
    private let poller: Poller

    /// How long a peer may take to finish a message that it has begun, and to take one from us, in milliseconds.
    static let patience: Int64 = 10_000

    private enum Token {
        static let socket: UInt64 = 0
        static let stop: UInt64 = 1
    }

    /// Takes a connected socket. `receive` gives up when `stop` is signalled.
    init(_ socket: consuming OwnedDescriptor, stop: EventFD) throws(SystemError) {
        let poller = try Poller()
        try socket.setNonBlocking()
        try poller.add(socket.rawValue, token: Token.socket)
        try poller.add(stop.rawValue, token: Token.stop)
        self.init(socket: socket, poller: poller)
    }

    private init(socket: consuming OwnedDescriptor, poller: consuming Poller) {
        self.socket = socket
        self.poller = poller
    }

    /// Whether the peer has closed its end.
    var isHungUp: Bool { socket.isHungUp }

    /// The next message; nil when the peer has left, or when somebody wants us to stop. Between messages a peer may take its time, unless
    /// `milliseconds` says how much.
    borrowing func receive(within milliseconds: Int64? = nil) throws(VhostUserError) -> ReceivedMessage? {
        var descriptors = PassedDescriptors()
        let deadline = milliseconds.map { MonotonicTime.now + $0 }
        guard let bytes = try read(MessageHeader.byteCount, &descriptors, mayEnd: true, until: deadline) else { return nil }
        let header = try MessageHeader(bytes.span)
        var more = PassedDescriptors()
        guard let payload = try read(header.size, &more, mayEnd: false, until: nil) else { return nil }
        guard more.count == 0 else { throw .violation("Descriptors came in the middle of a message.") }
        return ReceivedMessage(header: header, payload: payload, descriptors: descriptors)
    }

    /// Reads exactly `size` bytes; nil at the end of the stream, or to stop, before the first of them if it `mayEnd` there.
    private borrowing func read(
        _ size: Int, _ descriptors: inout PassedDescriptors, mayEnd: Bool, until first: Int64?
    ) throws(VhostUserError) -> [UInt8]? {
        var bytes: [UInt8] = []
        // Once something has begun, it has to end.
        var deadline: Int64? = mayEnd ? first : MonotonicTime.now + Self.patience
        while bytes.count < size {
            var chunk = [UInt8](repeating: 0, count: size - bytes.count)
            var span = chunk.mutableSpan
            var untyped = span.untyped
            var passed = PassedDescriptors()
            let count: Int
            do throws(SystemError) {
                count = try socket.receive(into: &untyped, passed: &passed)
            } catch {
                guard error.errno == .wouldBlock else { throw VhostUserError(.host, "The connection broke (\(error)).") }
                guard try wait(until: deadline) else {
                    if bytes.isEmpty, mayEnd, first == nil || !isLate(first) { return nil }
                    throw VhostUserError(
                        .silence, bytes.isEmpty && mayEnd ? "The peer does not answer." : "The peer stopped in the middle of a message.")
                }
                continue
            }
            if passed.count > 0 {
                guard bytes.isEmpty else { throw .violation("Descriptors came in the middle of a message.") }
                descriptors = passed
            }
            guard count > 0 else {
                if bytes.isEmpty, mayEnd { return nil }
                throw .violation("The connection ended in the middle of a message.")
            }
            bytes += chunk.prefix(count)
            deadline = deadline ?? MonotonicTime.now + Self.patience
        }
        return bytes
    }

    private func isLate(_ deadline: Int64?) -> Bool { deadline.map { MonotonicTime.now >= $0 } ?? false }

    /// Waits for something to read; false when the time is up or somebody wants us to stop.
    private borrowing func wait(until deadline: Int64?) throws(VhostUserError) -> Bool {
        var isReady = false
        var isStopped = false
        let left = deadline.map { Int32(clamping: max($0 - MonotonicTime.now, 0)) }
        do throws(SystemError) {
            try poller.wait(timeoutMilliseconds: left) { event in
                if event.token == Token.stop { isStopped = true } else { isReady = true }
            }
        } catch {
            throw VhostUserError(.host, "The host could not wait for a message (\(error)).")
        }
        if isStopped { return false }
        if let deadline, !isReady { return MonotonicTime.now < deadline }
        return true
    }

    /// Sends a whole message, with descriptors that stay open here.
    borrowing func send(_ header: MessageHeader, _ payload: [UInt8], passing descriptors: [Int32] = []) throws(VhostUserError) {
        let bytes = header.bytes + payload
        var position = 0
        let deadline = MonotonicTime.now + Self.patience
        while position < bytes.count {
            do throws(SystemError) {
                position += try socket.send(
                    bytes.span.extracting(position...).untyped, passing: position == 0 ? descriptors : [])
            } catch {
                guard error.errno == .wouldBlock else { throw VhostUserError(.host, "The connection broke (\(error)).") }
                guard MonotonicTime.now < deadline else { throw VhostUserError(.silence, "The peer takes no messages.") }
                try waitForRoom()
            }
        }
    }

    private borrowing func waitForRoom() throws(VhostUserError) {
        _ = try hosted("wait for room in a socket") { () throws(SystemError) in
            try socket.waitWritable(milliseconds: 100)
        }
    }
}
