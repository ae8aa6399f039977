import Host
import Schema
import Virtqueue

/// Whole messages, each a JSON document with descriptors, on a Unix stream socket between two processes of ours: four bytes of length, then the
/// text. The descriptors come with the first byte.
struct MessageStream: ~Copyable, Sendable {
    /// Why a message did not get across.
    enum Failure: Error {
        /// The other end has gone.
        case ended
        /// It has not done its part in time.
        case late
        /// What came is no message, or the host failed.
        case broken
    }

    private let socket: OwnedDescriptor
    private let poller: Poller
    /// How long an end may take to finish a message that it has begun, in milliseconds.
    private let patience: Int64

    /// The longest text, in bytes: the extents of scattered RAM take a few MiB.
    private static let mostBytes = 64 << 20
    /// The patience with every end but those of tests: enough for the longest text.
    static let usualPatience: Int64 = 10_000

    init(_ socket: consuming OwnedDescriptor, patience: Int64 = Self.usualPatience) throws(SystemError) {
        let poller = try Poller()
        try socket.setNonBlocking()
        try poller.add(socket.rawValue, token: 0)
        self.socket = socket
        self.poller = poller
        self.patience = patience
    }

    /// Sends a message. The descriptors, at most `PassedDescriptors.most`, stay open here.
    borrowing func send(_ message: JSONValue, passing descriptors: [Int32] = []) throws(Failure) {
        let text = Array(JSONText.encode(message, compact: true).utf8)
        guard text.count <= Self.mostBytes, let length = UInt32(exactly: text.count) else { throw .broken }
        let bytes = (0..<4).map { UInt8(truncatingIfNeeded: length >> ($0 * 8)) } + text
        let deadline = MonotonicTime.now + patience
        var position = 0
        while position < bytes.count {
            do throws(SystemError) {
                position += try socket.send(bytes.span.extracting(position...).untyped, passing: position == 0 ? descriptors : [])
            } catch {
                guard error.errno == .wouldBlock else { throw .ended }
                guard MonotonicTime.now < deadline else { throw .late }
                do throws(SystemError) { _ = try socket.waitWritable(milliseconds: 100) } catch { throw .broken }
            }
        }
    }

    /// The next message. Nobody waits longer than `milliseconds` for its beginning; nil waits for ever. From then on there is one deadline for
    /// all of it: an end that sends a byte now and then would else keep whoever waits for as long as it likes.
    borrowing func receive(within milliseconds: Int64?) throws(Failure) -> (message: JSONValue, descriptors: Slot<PassedDescriptors>) {
        var descriptors = PassedDescriptors()
        let first = try read(1, &descriptors, until: milliseconds.map { MonotonicTime.now + $0 })
        let deadline = MonotonicTime.now + patience
        let head = first + (try read(3, &descriptors, until: deadline))
        let length = head.reversed().reduce(0) { $0 << 8 | Int($1) }
        guard length <= Self.mostBytes else { throw .broken }
        let text = try read(length, &descriptors, until: deadline)
        guard let message = try? JSONText.decode(text) else { throw .broken }
        return (message, Slot(descriptors))
    }

    private borrowing func read(_ size: Int, _ descriptors: inout PassedDescriptors, until deadline: Int64?) throws(Failure) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < size {
            var chunk = [UInt8](repeating: 0, count: min(size - bytes.count, 65536))
            var span = chunk.mutableSpan
            var untyped = span.untyped
            var passed = PassedDescriptors()
            let count: Int
            do throws(SystemError) { count = try socket.receive(into: &untyped, passed: &passed) } catch {
                guard error.errno == .wouldBlock else { throw .ended }
                try wait(until: deadline)
                continue
            }
            guard count > 0 else { throw .ended }
            descriptors.append(contentsOf: passed)
            bytes += chunk.prefix(count)
            // There may always be another byte already, so that nothing has to be waited for.
            if bytes.count < size, let deadline, MonotonicTime.now >= deadline { throw .late }
        }
        return bytes
    }

    private borrowing func wait(until deadline: Int64?) throws(Failure) {
        let left = deadline.map { $0 - MonotonicTime.now }
        if let left, left <= 0 { throw .late }
        do throws(SystemError) { try poller.wait(timeoutMilliseconds: left.map { Int32(clamping: $0) }) { _ in } } catch { throw .broken }
    }
}
