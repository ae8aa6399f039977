import Foundation
import Host
import Schema
import Testing
import Virtqueue

@testable import Supervisor

/// A directory for runtime directories that goes with its owner. In /tmp, because a socket's path must be short.
final class TemporaryRoot: Sendable {
    let path: String
    let roots: RuntimeRoots

    init() {
        path = "/tmp/swvmm-test-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        roots = RuntimeRoots([path])
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// A server with a fake VM on a real socket.
final class ControlRig {
    let root = TemporaryRoot()
    let vm: FakeVM
    let hub = EventHub()
    let directory: RuntimeDirectory
    let server: ControlServer

    init(gated: Bool = false, limits: ControlLimits = ControlLimits()) throws {
        vm = FakeVM(gated: gated)
        directory = try RuntimeDirectory.claim(name: "fake", roots: root.roots)
        server = try ControlServer.start(vm: vm, directory: directory, hub: hub, limits: limits)
    }

    deinit { server.stop() }

    var openConnections: Int { server.openConnections }

    func connect() throws -> RawClient { try RawClient(directory.socketPath) }

    /// One request on a connection of its own.
    func ask(_ method: String, _ path: String, _ body: String? = nil, headers: [String] = []) throws -> RawReply {
        let client = try connect()
        try client.send(request(method, path, body, headers: headers))
        return try client.reply(toHead: method == "HEAD")
    }

    func client(patience: Int64 = 5000) throws -> ControlClient { try ControlClient(name: "fake", roots: root.roots, patience: patience) }
}

func request(_ method: String, _ path: String, _ body: String? = nil, headers: [String] = []) -> String {
    var lines = ["\(method) \(path) HTTP/1.1", "Host: localhost"] + headers
    if let body { lines.append("Content-Length: \(body.utf8.count)") }
    return lines.joined(separator: "\r\n") + "\r\n\r\n" + (body ?? "")
}

/// An answer, taken apart by other code than the product's.
struct RawReply {
    let status: Int
    let headers: [String: String]
    let body: [UInt8]

    func json() throws -> JSONValue { try JSONText.decode(body) }
    func error() throws -> (code: Int64, message: String) {
        guard case .object(let error)? = try json().member("error"), case .integer(let code)? = error["code"],
            case .string(let message)? = error["message"]
        else { throw Missing() }
        return (code, message)
    }
    struct Missing: Error {}
}

/// A client that can do everything wrong. Every read has a deadline, so that a missing answer fails a test instead of hanging it.
final class RawClient {
    let socket: OwnedDescriptor
    private let poller: Poller
    private var buffer: [UInt8] = []
    struct Late: Error {}
    struct Ended: Error {}

    init(_ path: String) throws {
        socket = try UnixSocket.connect(to: path)
        poller = try Poller()
        try poller.add(socket.rawValue, token: 0)
    }

    func send(_ text: String) throws {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let part = Array(bytes)
            bytes = bytes.dropFirst(try socket.send(part.span.untyped))
        }
    }

    func closeOutput() { shutdown(socket.rawValue, Int32(SHUT_WR)) }

    /// Some bytes; none at the end, also when the server has dropped what it had not read.
    func some() throws -> [UInt8] {
        // A wait ends early after a signal, too; and other tests may have the processors.
        let deadline = MonotonicTime.now + 120_000
        while try poller.wait(timeoutMilliseconds: 20_000, { _ in }) == 0 {
            guard MonotonicTime.now < deadline else { throw Late() }
        }
        do throws(SystemError) {
            return try socket.readSome(4096)
        } catch {
            guard error.errno.rawValue == ECONNRESET else { throw error }
            return []
        }
    }

    func line() throws -> String {
        while true {
            if let end = buffer.firstIndex(of: 0x0a) {
                let line = String(decoding: buffer[..<end], as: UTF8.self)
                buffer.removeSubrange(...end)
                return line.hasSuffix("\r") || line.hasSuffix("\r\n") ? String(line.dropLast()) : line
            }
            let more = try some()
            if more.isEmpty { throw Ended() }
            buffer += more
        }
    }

    func head() throws -> (status: Int, headers: [String: String]) {
        let words = try line().split(separator: " ")
        var headers: [String: String] = [:]
        while true {
            let line = try line()
            if line.isEmpty { break }
            let parts = line.split(separator: ":", maxSplits: 1)
            headers[parts[0].lowercased()] = parts.count > 1 ? parts[1].trimmingCharacters(in: .whitespaces) : ""
        }
        return (try #require(words.count > 1 ? Int(words[1]) : nil), headers)
    }

    /// A whole answer with a length.
    func reply(toHead: Bool = false) throws -> RawReply {
        let head = try head()
        let length = toHead ? 0 : Int(head.headers["content-length"] ?? "0") ?? 0
        while buffer.count < length {
            let more = try some()
            if more.isEmpty { throw Ended() }
            buffer += more
        }
        let body = Array(buffer.prefix(length))
        buffer.removeFirst(length)
        return RawReply(status: head.status, headers: head.headers, body: body)
    }

    /// Reads until the server closes the connection; what came.
    func rest() throws -> [UInt8] {
        while true {
            let more = try some()
            if more.isEmpty { return buffer }
            buffer += more
        }
    }

    /// The next line of a chunked stream of events, which has one or more whole lines in each chunk.
    func event() throws -> JSONValue {
        while true {
            let line = try line()
            if line.hasPrefix("{") { return try JSONText.decode(Array(line.utf8)) }
            if line == "0" { throw Ended() }
        }
    }
}

/// Waits until something becomes true that another thread brings about.
func eventually(_ condition: () -> Bool) -> Bool {
    for _ in 0..<2000 {
        if condition() { return true }
        usleep(5000)
    }
    return condition()
}
