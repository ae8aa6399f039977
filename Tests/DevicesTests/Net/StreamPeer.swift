import Host
import Virtqueue

@testable import Devices

/// The other end of a stream link: frames behind their length, as QEMU's `-netdev stream` has them.
final class StreamPeer {
    private var socket: OwnedDescriptor?
    private let poller: Poller
    private let raw: Int32
    private var input: [UInt8] = []

    init(_ socket: consuming OwnedDescriptor) throws {
        try socket.setNonBlocking()
        raw = socket.rawValue
        poller = try Poller()
        try poller.add(raw, token: 0)
        self.socket = consume socket
    }

    /// Closes the connection.
    func close() { socket = nil }

    static func framed(_ frame: [UInt8]) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: frame.count >> (24 - 8 * $0)) } + frame
    }

    func send(frame: [UInt8]) throws { try send(Self.framed(frame)) }

    /// Sends bytes as they are, all of them.
    func send(_ bytes: [UInt8]) throws {
        var position = 0
        let deadline = MonotonicTime.now + 30000
        while position < bytes.count {
            do throws(SystemError) {
                position += try write(Array(bytes[position...]))
            } catch {
                guard error.errno == .wouldBlock else { throw error }
                guard MonotonicTime.now < deadline else { throw Timeout("room in the socket") }
                try poller.modify(raw, token: 0, readable: false, writable: true)
                try poller.wait(timeoutMilliseconds: 100) { _ in }
                try poller.modify(raw, token: 0, readable: true, writable: false)
            }
        }
    }

    private func write(_ bytes: [UInt8]) throws(SystemError) -> Int { try socket?.send(bytes.span.untyped) ?? 0 }

    /// Whether a frame is there already.
    func hasFrame() throws -> Bool {
        try fill()
        return frameSize() != nil
    }

    /// The next frame; waits for it.
    func frame() throws -> [UInt8] {
        let deadline = MonotonicTime.now + 30000
        while true {
            if let size = frameSize() {
                let frame = Array(input[4..<(4 + size)])
                input.removeFirst(4 + size)
                return frame
            }
            guard MonotonicTime.now < deadline else { throw Timeout("a frame from the device") }
            try poller.wait(timeoutMilliseconds: 100) { _ in }
            try fill()
        }
    }

    private func frameSize() -> Int? {
        guard input.count >= 4 else { return nil }
        let size = input[..<4].reduce(0) { $0 << 8 | Int($1) }
        return input.count >= 4 + size ? size : nil
    }

    private func fill() throws {
        do throws(SystemError) {
            while let bytes = try socket?.readSome(65536), !bytes.isEmpty { input += bytes }
        } catch {
            guard error.errno == .wouldBlock else { throw error }
        }
    }
}
