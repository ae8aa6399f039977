import Devices
import DriverSupport
import Glibc
import Host
import Schema
import Synchronization
import VhostUser
import Virtio

@testable import VirtioDriver

/// A file of `size` bytes without a name; gone when the last descriptor is.
func temporaryFile(size: Int) throws -> OwnedDescriptor {
    // O_TMPFILE, which Swift does not see: __O_TMPFILE | O_DIRECTORY.
    let file = try OwnedDescriptor.open("/tmp", flags: O_RDWR | 0o20_000_000 | O_DIRECTORY, mode: 0o600)
    try file.resize(to: UInt64(size))
    return file
}

/// A way to a block device that a test drives.
enum Reach: String, CaseIterable, Sendable {
    /// In this process.
    case loopback
    /// Behind our vhost-user back-end.
    case service
    /// Behind qemu-storage-daemon.
    case storageDaemon
}

/// A disk of our own, behind something.
final class TestDisk {
    static let size = 8 << 20

    let transport: any VirtioTransport
    /// Another descriptor of the image.
    let image: OwnedDescriptor?
    private let device: BlockDevice?
    private let memoryDisk: AsyncDeviceHost<MemoryDisk>?
    private let server: BackendThread?
    private let daemon: StorageDaemon?

    init(
        _ reach: Reach, _ terms: Terms = Terms(eventIndex: true), queues: Int = 1, readOnly: Bool = false, isAsync: Bool = false,
        patience: Int64 = 10_000
    ) throws {
        guard reach != .storageDaemon else {
            let daemon = try StorageDaemon(queues: queues, size: Self.size, readOnly: readOnly)
            transport = try VhostUserTransport(try daemon.connect(), wanted: terms.wanted, patience: patience)
            image = nil
            (device, memoryDisk, server) = (nil, nil, nil)
            self.daemon = daemon
            return
        }
        daemon = nil
        if isAsync {
            let disk = try MemoryDisk.device(label: "memory", sectors: Self.size / 512)
            (device, memoryDisk) = (nil, disk)
            image = nil
            server = reach == .loopback ? nil : try BackendThread(disk)
            transport = try Self.connect(disk, server, terms, patience)
            return
        }
        memoryDisk = nil
        let file = try temporaryFile(size: Self.size)
        var configuration = BlockConfiguration(image: try file.duplicate(), label: "disk")
        configuration.packedRing = true
        configuration.queues = queues
        configuration.readOnly = readOnly
        configuration.serial = "a serial"
        let device = try BlockDevice(configuration)
        self.device = device
        image = try file.duplicate()
        server = reach == .loopback ? nil : try BackendThread(device)
        transport = try Self.connect(device, server, terms, patience)
    }

    private static func connect(
        _ device: any VirtioDevice, _ server: BackendThread?, _ terms: Terms, _ patience: Int64
    ) throws -> any VirtioTransport {
        guard let server else { return try LoopbackTransport(device, wanted: terms.wanted) }
        return try VhostUserTransport(try server.socket(), wanted: terms.wanted, patience: patience)
    }

    /// The back-end goes, in the middle of whatever it does.
    func vanish() throws {
        server?.stop()
        try daemon?.kill()
    }

    /// What changes the size of the disk while it is used.
    func grow(to size: Int) throws {
        try image?.resize(to: UInt64(size))
        try device?.controlNotify(["capacity": true])
    }

    deinit { server?.stop() }
}

/// A device behind a vhost-user back-end on a thread.
final class BackendThread {
    private let worker: WorkerThread<Bool>
    private let peer: Slot<OwnedDescriptor>

    init(_ device: any VirtioDevice) throws {
        let pair = try SocketPair()
        let slot = Slot(try pair.second.duplicate())
        peer = Slot(try pair.first.duplicate())
        let backend = VhostUserBackend(device) { _ in }
        worker = try WorkerThread(name: "backend", state: true) { _, stop in
            guard let socket = slot.take() else { return }
            try? backend.serve(socket, stop: stop)
        }
    }

    /// The front-end's end, once.
    func socket() throws -> OwnedDescriptor {
        guard let socket = peer.take() else { throw DriverError.wrongState("The socket was taken.") }
        return socket
    }

    func stop() { _ = worker.stop() }
}
