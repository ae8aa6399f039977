import Host
import Virtqueue

/// One connection of a client to a control socket. Every wait has a deadline of the monotonic clock in milliseconds.
struct ClientConnection: ~Copyable {
    /// Why a connection is of no use any more.
    enum Failure: Error {
        /// The time is up.
        case late
        /// Nobody listens, or the connection broke off.
        case system(SystemError)
    }

    private let socket: OwnedDescriptor
    private let poller: Poller

    /// Connects.
    init(path: String, deadline: Int64) throws(Failure) {
        let connected = try Self.connect(path, deadline)
        do throws(SystemError) {
            let poller = try Poller()
            try poller.add(connected.rawValue, token: 0)
            self.poller = poller
        } catch {
            throw .system(error)
        }
        socket = connected
    }

    private static func connect(_ path: String, _ deadline: Int64) throws(Failure) -> OwnedDescriptor {
        while true {
            do throws(SystemError) {
                return try UnixSocket.connectWithoutWaiting(to: path)
            } catch {
                // The listener's queue is full: it is busy, or hangs.
                guard error.errno == .wouldBlock else { throw .system(error) }
            }
            if MonotonicTime.now >= deadline { throw .late }
            _ = try? Poller().wait(timeoutMilliseconds: 10) { _ in }
        }
    }

    /// Sends all bytes. A peer that reads no more may have answered already: that is for `receive` to see.
    borrowing func send(_ bytes: [UInt8], deadline: Int64) throws(Failure) {
        var sent = 0
        while sent < bytes.count {
            do throws(SystemError) {
                sent += try socket.send(bytes.span.extracting(sent..<bytes.count).untyped)
            } catch {
                guard error.errno == .wouldBlock else { return }
                try wait(writable: true, deadline: deadline)
            }
        }
    }

    /// The next bytes; an empty array is the end. With `deadline` nil the wait is for as long as the peer lives.
    borrowing func receive(deadline: Int64?) throws(Failure) -> [UInt8] {
        while true {
            do throws(SystemError) {
                return try socket.readSome(64 << 10)
            } catch {
                guard error.errno == .wouldBlock else { throw .system(error) }
            }
            try wait(writable: false, deadline: deadline)
        }
    }

    private borrowing func wait(writable: Bool, deadline: Int64?) throws(Failure) {
        do throws(SystemError) {
            try poller.modify(socket.rawValue, token: 0, readable: !writable, writable: writable)
            let left = deadline.map { max($0 - MonotonicTime.now, 0) }
            let count = try poller.wait(timeoutMilliseconds: left.map { Int32(clamping: $0) }) { _ in }
            guard count == 0, let deadline, MonotonicTime.now >= deadline else { return }
        } catch {
            throw .system(error)
        }
        throw .late
    }
}
