import Glibc
import Host
import Virtqueue

@testable import VhostUser

/// Something that a test waited for did not come in time.
struct Timeout: Error, CustomStringConvertible {
    let description: String
    init(_ what: String) { description = "waited too long for \(what)" }

    /// Generous, in milliseconds: only a failure takes that long.
    static let patience: Int64 = 30_000
}

/// One end of a vhost-user connection in the hands of a test: it sends what it is told to, right or wrong.
final class RawPeer: Sendable {
    /// A message as it came.
    struct Message: ~Copyable {
        let header: MessageHeader
        let payload: [UInt8]
        var descriptors: PassedDescriptors
    }

    private let socket: OwnedDescriptor
    private let poller: Poller
    private let stop: EventFD?

    private enum Token {
        static let socket: UInt64 = 0
        static let stop: UInt64 = 1
    }

    /// Takes a connected socket. Signalled, `stop` ends every wait as if the other end had left.
    init(_ socket: consuming OwnedDescriptor, stop: EventFD? = nil) throws {
        let poller = try Poller()
        try socket.setNonBlocking()
        try poller.add(socket.rawValue, token: Token.socket)
        if let stop { try poller.add(stop.rawValue, token: Token.stop) }
        self.stop = stop
        self.poller = poller
        self.socket = socket
    }

    // MARK: Sending

    /// Sends bytes in one write.
    func send(bytes: [UInt8], passing descriptors: [Int32] = []) throws {
        let count = try socket.send(bytes.span.untyped, passing: descriptors)
        guard count == bytes.count else { throw Timeout("room in a socket") }
    }

    /// Sends a message.
    func send(_ header: MessageHeader, _ payload: [UInt8], passing descriptors: [Int32] = []) throws {
        try send(bytes: header.bytes + payload, passing: descriptors)
    }

    /// Sends a request.
    func send(_ message: FrontEndMessage, needsReply: Bool = false, passing descriptors: [Int32] = []) throws {
        try send(bytes: message.bytes(needsReply: needsReply), passing: descriptors)
    }

    /// Waits until the other end has read all that was sent.
    func waitUntilRead() throws {
        let deadline = MonotonicTime.now + Timeout.patience
        while try !socket.peerHasReadAll() {
            guard MonotonicTime.now < deadline else { throw Timeout("a reader") }
            sched_yield()
        }
    }

    /// Sends nothing more: the other end sees us leave, but can still be heard.
    func leave() { _ = shutdown(socket.rawValue, Int32(SHUT_WR)) }

    // MARK: Receiving

    /// The next message; nil when the other end has left.
    func receive() throws -> Message? {
        var descriptors = PassedDescriptors()
        guard let head = try read(MessageHeader.byteCount, &descriptors) else { return nil }
        let header = try MessageHeader(head.span)
        var none = PassedDescriptors()
        guard let payload = try read(header.size, &none) else { return nil }
        return Message(header: header, payload: payload, descriptors: descriptors)
    }

    private func read(_ size: Int, _ descriptors: inout PassedDescriptors) throws -> [UInt8]? {
        var bytes: [UInt8] = []
        let deadline = MonotonicTime.now + Timeout.patience
        while bytes.count < size {
            var chunk = [UInt8](repeating: 0, count: size - bytes.count)
            var span = chunk.mutableSpan
            var untyped = span.untyped
            var passed = PassedDescriptors()
            do throws(SystemError) {
                let count = try socket.receive(into: &untyped, passed: &passed)
                if passed.count > 0 { descriptors = passed }
                guard count > 0 else { return nil }
                bytes += chunk.prefix(count)
            } catch {
                // Who leaves without having read everything resets the connection.
                guard error.errno == .wouldBlock else { return nil }
                guard try wait(until: deadline) else { return nil }
            }
        }
        return bytes
    }

    /// Waits for something to read; false when somebody wants us to stop.
    private func wait(until deadline: Int64) throws -> Bool {
        guard MonotonicTime.now < deadline else { throw Timeout("a message") }
        var isStopped = false
        try poller.wait(timeoutMilliseconds: 1000) { event in
            if event.token == Token.stop { isStopped = true }
        }
        return !isStopped
    }

    /// The next message; a timeout when the other end has left.
    func next() throws -> Message {
        guard let message = try receive() else { throw Timeout("a message") }
        return message
    }

    // MARK: Asking

    /// Sends a request and reads its answer.
    func ask(_ message: FrontEndMessage, needsReply: Bool = false, passing descriptors: [Int32] = []) throws -> BackEndReply {
        try send(message, needsReply: needsReply, passing: descriptors)
        return try answer(to: message.request)
    }

    /// Reads the answer to a request that has been sent.
    func answer(to request: FrontEndRequest) throws -> BackEndReply {
        guard let message = try receive() else { throw Timeout("the answer to \(request.name)") }
        guard message.header.isReply, message.header.request == request.rawValue else {
            throw VhostUserError.violation("\(request.name) was answered with message \(message.header.request).")
        }
        return try BackEndReply(to: request, message.payload.span)
    }
}

extension FrontEndMessage {
    /// The message as it goes over the wire.
    func bytes(needsReply: Bool = false) -> [UInt8] {
        let payload = payload
        return MessageHeader(request: request.rawValue, needsReply: needsReply, size: payload.count).bytes + payload
    }
}
