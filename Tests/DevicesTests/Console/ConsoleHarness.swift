import Glibc
import Host
import Testing
import Virtio
import Virtqueue

@testable import Devices

/// A driver for a console.
final class ConsoleHarness {
    let harness: DeviceHarness
    let device: ConsoleDevice
    private var posted: [(token: UInt16, address: UInt64)] = []

    init(_ backend: consuming CharacterBackend, rings: DeviceHarness.Rings = .init()) throws {
        device = try ConsoleDevice(ConsoleConfiguration(label: "hvc", packedRing: true), backend: backend)
        harness = try DeviceHarness(device, rings: rings)
        try harness.activate()
    }

    /// Makes output available.
    func submit(_ bytes: [UInt8], pieces: Int = 1) throws -> UInt16 {
        let address = harness.place(bytes)
        let buffers = (0..<pieces).map { piece in
            let start = bytes.count * piece / pieces
            return DriverBuffer(
                address: address + UInt64(start), count: UInt32(bytes.count * (piece + 1) / pieces - start))
        }
        return try #require(try harness.submit(queue: 1, readable: buffers))
    }

    /// Writes output and waits until the device has taken it.
    func write(_ bytes: [UInt8], pieces: Int = 1) throws {
        #expect(try harness.wait(queue: 1, try submit(bytes, pieces: pieces)) == 0)
    }

    func write(_ text: String) throws { try write(Array(text.utf8)) }

    /// Gives the device buffers for input.
    func post(_ number: Int, of count: Int) throws {
        for _ in 0..<number {
            let address = harness.allocate(count)
            let buffer = DriverBuffer(address: address, count: UInt32(count))
            posted.append((try #require(try harness.submit(queue: 0, writable: [buffer])), address))
        }
    }

    /// The next used buffer; waits for it.
    func read() throws -> [UInt8] {
        let first = try #require(posted.first)
        let written = try harness.wait(queue: 0, first.token)
        posted.removeFirst()
        return harness.bytes(at: first.address, count: Int(written))
    }

    /// Whether the next buffer has been used already.
    func hasInput() throws -> Bool {
        guard let first = posted.first, let written = try harness.poll(queue: 0, first.token) else { return false }
        posted[0].token = first.token
        _ = written
        return true
    }

    /// Input, from as many buffers as it takes.
    func read(_ count: Int) throws -> String {
        var bytes: [UInt8] = []
        while bytes.count < count { bytes += try read() }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Whoever sits at the other end of a console.
final class ConsolePeer {
    private let descriptor: OwnedDescriptor
    private let poller: Poller

    init(_ descriptor: consuming OwnedDescriptor) throws {
        try descriptor.setNonBlocking()
        poller = try Poller()
        try poller.add(descriptor.rawValue, token: 0)
        self.descriptor = descriptor
    }

    /// The next bytes, exactly `count` of them.
    func read(_ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        let deadline = MonotonicTime.now + 30000
        while bytes.count < count {
            guard MonotonicTime.now < deadline else { throw Timeout("\(count) bytes of output, of which \(bytes.count) came") }
            try poller.wait(timeoutMilliseconds: 100) { _ in }
            bytes += try readNow(count - bytes.count)
        }
        return bytes
    }

    func readText(_ count: Int) throws -> String { String(decoding: try read(count), as: UTF8.self) }

    /// Reads until `suffix` comes.
    func read(through suffix: [UInt8]) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while !bytes.suffix(suffix.count).elementsEqual(suffix) { bytes += try read(1) }
        return bytes
    }

    private func readNow(_ limit: Int) throws -> [UInt8] {
        do throws(SystemError) {
            return try descriptor.readSome(limit)
        } catch {
            guard error.errno == .wouldBlock else { throw error }
            return []
        }
    }

    func write(_ text: String) throws {
        let bytes = Array(text.utf8)
        #expect(try descriptor.write(bytes.span.untyped) == bytes.count)
    }

    /// Nothing more will be written.
    func endInput() { shutdown(descriptor.rawValue, Int32(SHUT_WR)) }
}

/// A path for a socket, removed when it is not needed any more.
final class SocketPath {
    let path: String

    init(_ name: String) {
        path = "/tmp/swvmm-\(getpid())-\(name).sock"
        removeFile(path)
    }

    deinit { removeFile(path) }
}
