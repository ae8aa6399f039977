import Glibc
import GuestMemory
import Host
import Testing
import VhostUser
import Virtio
import Virtqueue

@testable import Devices

/// A running qemu-storage-daemon that serves one qcow2 image over vhost-user.
private final class StorageDaemon {
    let socket: String
    private let image: String
    private let process: Slot<ChildProcess>

    init(queues: Int) throws {
        let place = "/tmp/swvmm-qsd-\(getpid())-\(queues)"
        (socket, image) = ("\(place).sock", "\(place).qcow2")
        var make = try ChildProcess(
            path: try #require(findProgram("qemu-img")), arguments: ["qemu-img", "create", "-q", "-f", "qcow2", image, "16M"])
        _ = try make.wait(timeoutMilliseconds: 30_000)
        process = Slot(
            try ChildProcess(
                path: try #require(findProgram("qemu-storage-daemon")),
                arguments: [
                    "qemu-storage-daemon", "--blockdev", "file,filename=\(image),node-name=f", "--blockdev", "qcow2,file=f,node-name=q",
                    "--export",
                    "vhost-user-blk,id=e,node-name=q,addr.type=unix,addr.path=\(socket),num-queues=\(queues),writable=on",
                ]))
    }

    deinit {
        if let process = process.take() { _ = process.terminate(graceMilliseconds: 2000) }
        removeFile(socket)
        removeFile(image)
    }

    /// Connects as soon as it listens.
    func connect() throws -> OwnedDescriptor {
        for _ in 0..<300 {
            if let socket = try? UnixSocket.connect(to: socket) { return socket }
            usleep(100_000)
        }
        throw Timeout("qemu-storage-daemon")
    }
}

/// Our front-end against a back-end that is not ours.
@Suite("Block device of qemu-storage-daemon", .enabled(if: findProgram("qemu-storage-daemon") != nil))
struct StorageDaemonTests {
    @Test("A qcow2 disk is written and read back through our front-end, also across sleep", arguments: [1, 2])
    func disk(_ queues: Int) throws {
        let daemon = try StorageDaemon(queues: queues)
        let frontend = try frontend(daemon, queues)
        let harness = try DeviceHarness(frontend)
        #expect(harness.configuration(at: 0, as: UInt64.self) == 16 << 11)
        try harness.activate()
        var random = Random(seed: 7)
        for queue in 0..<queues {
            let bytes = random.bytes(64 * 512)
            let sector = UInt64(100 + 1000 * queue)
            #expect(try run(harness, BlockHarness.Kind.write, sector, queue, output: bytes).status == 0)
            try harness.sleep()
            try harness.wake()
            let read = try run(harness, BlockHarness.Kind.read, sector, queue, input: bytes.count)
            #expect(read.status == 0)
            #expect(read.bytes == bytes)
            #expect(try run(harness, BlockHarness.Kind.flush, 0, queue).status == 0)
        }
        try harness.reset()
        try harness.activate()
        #expect(try run(harness, BlockHarness.Kind.read, 100, 0, input: 512).status == 0)
    }

    @Test("It marks what it writes in our log")
    func log() throws {
        let daemon = try StorageDaemon(queues: 3)
        let frontend = try frontend(daemon, 3)
        #expect(frontend.canLogWrites)
        let harness = try DeviceHarness(frontend, megabytes: 8, tracksWrites: true)
        try harness.activate()
        let watch = try WriteWatch(harness)
        for queue in 0..<3 {
            let header = DriverBuffer(address: harness.place(BlockHarness.header(BlockHarness.Kind.read, sector: 0)), count: 16)
            let data = DriverBuffer(address: harness.allocate(65536, alignment: 4096), count: 65536)
            // Zeros are read, which the watch would not see.
            harness.memory.write([UInt8](repeating: 1, count: 65536), at: data.address)
            let status = DriverBuffer(address: harness.place([0xff], alignment: 4096), count: 1)
            try watch.begin()
            let token = try #require(try harness.submit(queue: queue, readable: [header], writable: [data, status]))
            _ = try harness.wait(queue: queue, token)
            #expect(harness.bytes(at: status.address, count: 1) == [0])
            try watch.expect(
                WriteWatch.pages(data.address, 65536).union(WriteWatch.pages(status.address, 1)), "read through queue \(queue)")
        }
    }

    private func frontend(_ daemon: StorageDaemon, _ queues: Int) throws -> VhostUserFrontend {
        var profile = FrontendProfile(.block, label: "disk", queueCount: queues, queueSize: 128)
        profile.configurationSize = BlockSettings.configurationSpaceSize
        profile.isStateless = true
        profile.withheld = [.ringPacked]
        return try VhostUserFrontend(try daemon.connect(), profile)
    }

    private func run(
        _ harness: DeviceHarness, _ kind: UInt32, _ sector: UInt64, _ queue: Int, output: [UInt8] = [], input: Int = 0
    ) throws -> (status: UInt8, bytes: [UInt8]) {
        let header = harness.place(BlockHarness.header(kind, sector: sector))
        let data = output.isEmpty ? harness.allocate(max(input, 1)) : harness.place(output)
        let status = harness.place([0xff])
        var readable = [DriverBuffer(address: header, count: 16)]
        var writable: [DriverBuffer] = []
        if !output.isEmpty { readable.append(DriverBuffer(address: data, count: UInt32(output.count))) }
        if input > 0 { writable.append(DriverBuffer(address: data, count: UInt32(input))) }
        writable.append(DriverBuffer(address: status, count: 1))
        let token = try #require(try harness.submit(queue: queue, readable: readable, writable: writable))
        _ = try harness.wait(queue: queue, token)
        return (harness.bytes(at: status, count: 1)[0], harness.bytes(at: data, count: input))
    }
}
