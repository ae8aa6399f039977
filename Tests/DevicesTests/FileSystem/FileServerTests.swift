import Glibc
import Host
import Testing
import VhostUser
import Virtio
import Virtqueue

@testable import Devices

/// A running virtiofsd that serves one directory with one file over vhost-user.
private final class FileServer {
    /// Where Debian 12 has QEMU's own.
    static let program = findProgram("/usr/lib/qemu/virtiofsd")

    let socket: String
    private let directory: String
    private let file: String
    private let process: Slot<ChildProcess>

    init(file name: String, _ contents: [UInt8]) throws {
        let place = "/tmp/swvmm-virtiofsd-\(getpid())"
        (socket, directory) = ("\(place).sock", place)
        try PrivateDirectories.make(directory)
        file = "\(directory)/\(name)"
        let written = try OwnedDescriptor.open(file, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o644).write(contents.span.untyped)
        try #require(written == contents.count)
        process = Slot(
            try ChildProcess(
                path: try #require(Self.program),
                arguments: ["virtiofsd", "--socket-path=\(socket)", "-o", "source=\(directory),sandbox=chroot,log_level=err"]))
    }

    deinit {
        if let process = process.take() { _ = process.terminate(graceMilliseconds: 2000) }
        removeFile(socket)
        removeFile(file)
        PrivateDirectories.remove(directory)
    }

    /// Connects as soon as it listens.
    func connect() throws -> OwnedDescriptor {
        for _ in 0..<300 {
            if let socket = try? UnixSocket.connect(to: socket) { return socket }
            usleep(100_000)
        }
        throw Timeout("virtiofsd")
    }
}

/// Our front-end for a kind of device of which we have no back-end (virtio 1.3, 5.11): the test speaks FUSE.
@Suite("Shared directory of virtiofsd", .enabled(if: FileServer.program != nil && getuid() == 0))
struct FileServerTests {
    /// Requests (linux/fuse.h).
    private enum Operation {
        static let lookUp: UInt32 = 1
        static let open: UInt32 = 14
        static let read: UInt32 = 15
        static let initialize: UInt32 = 26
    }

    /// The second queue; the first is for what must not wait.
    private static let queue = 1
    private static let root: UInt64 = 1

    @Test("A file is looked up, opened and read through our front-end, also across sleep")
    func file() throws {
        var random = Random(seed: 11)
        let contents = random.bytes(100_000)
        let server = try FileServer(file: "numbers", contents)
        var profile = FrontendProfile(.fileSystem, label: "files", queueCount: 2, queueSize: 128)
        profile.isStateless = true
        profile.withheld = [.ringPacked, Features(bit: 0)]
        profile.configuration = Array("files".utf8) + [UInt8](repeating: 0, count: 31) + little(UInt32(1))
        let harness = try DeviceHarness(try VhostUserFrontend(try server.connect(), profile))
        #expect(harness.configuration(at: 36, as: UInt32.self) == 1)
        try harness.activate()

        // Version 7.31, with what readahead Linux wants; the answer has the server's version.
        let welcome = try ask(
            harness, Operation.initialize, node: 0, little(UInt32(7)) + little(UInt32(31)) + little(UInt32(131_072)) + little(UInt32(0)),
            answer: 64)
        #expect(number(welcome, at: 0, bytes: 4) == 7)
        #expect(number(welcome, at: 4, bytes: 4) >= 31)

        let entry = try ask(harness, Operation.lookUp, node: Self.root, Array("numbers".utf8) + [0], answer: 128)
        let node = number(entry, at: 0, bytes: 8)
        // The attributes come after 40 bytes: inode, size, …
        #expect(number(entry, at: 48, bytes: 8) == UInt64(contents.count))
        let handle = number(try ask(harness, Operation.open, node: node, [UInt8](repeating: 0, count: 8), answer: 16), at: 0, bytes: 8)

        var read: [UInt8] = []
        while read.count < contents.count {
            let place = little(handle) + little(UInt64(read.count)) + little(UInt32(40_000)) + [UInt8](repeating: 0, count: 20)
            let piece = try ask(harness, Operation.read, node: node, place, answer: 40_000)
            try #require(!piece.isEmpty)
            read += piece
            try harness.sleep()
            try harness.wake()
        }
        #expect(read == contents)

        let missing = try exchange(harness, Operation.lookUp, node: Self.root, Array("nothing".utf8) + [0], answer: 128)
        #expect(missing.error == -ENOENT)
    }

    // MARK: FUSE

    /// What follows the header of a good answer.
    private func ask(_ harness: DeviceHarness, _ operation: UInt32, node: UInt64, _ body: [UInt8], answer: Int) throws -> [UInt8] {
        let result = try exchange(harness, operation, node: node, body, answer: answer)
        try #require(result.error == 0)
        return result.bytes
    }

    /// A request: length, operation, number, node, user, group, process. Its answer: length, error, number.
    private func exchange(
        _ harness: DeviceHarness, _ operation: UInt32, node: UInt64, _ body: [UInt8], answer: Int
    ) throws -> (error: Int32, bytes: [UInt8]) {
        let number = UInt64(operation) + 1000
        let header =
            little(UInt32(40 + body.count)) + little(operation) + little(number) + little(node) + [UInt8](repeating: 0, count: 16)
        let readable = [harness.place(header), harness.place(body)]
        let writable = [harness.allocate(16), harness.allocate(answer)]
        let token = try #require(
            try harness.submit(
                queue: Self.queue,
                readable: [
                    DriverBuffer(address: readable[0], count: UInt32(header.count)),
                    DriverBuffer(address: readable[1], count: UInt32(body.count)),
                ],
                writable: [DriverBuffer(address: writable[0], count: 16), DriverBuffer(address: writable[1], count: UInt32(answer))]))
        let written = Int(try harness.wait(queue: Self.queue, token))
        let head = harness.bytes(at: writable[0], count: 16)
        #expect(self.number(head, at: 0, bytes: 4) == UInt64(written))
        #expect(self.number(head, at: 8, bytes: 8) == number)
        let error = Int32(truncatingIfNeeded: self.number(head, at: 4, bytes: 4))
        return (error, harness.bytes(at: writable[1], count: max(written - 16, 0)))
    }

    private func little<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        (0..<MemoryLayout<T>.size).map { UInt8(truncatingIfNeeded: value >> T(8 * $0)) }
    }

    private func number(_ bytes: [UInt8], at offset: Int, bytes count: Int) -> UInt64 {
        bytes.dropFirst(offset).prefix(count).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}
