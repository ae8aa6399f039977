import Glibc
import Host

@testable import VirtioDriver

/// A running qemu-storage-daemon that serves one raw image over vhost-user.
final class StorageDaemon {
    private static let program = "qemu-storage-daemon"
    /// Whether there is one here.
    static let isHere = path != nil
    private static let path = findProgram(program)

    private let place: String
    private let process: Slot<ChildProcess>

    init(queues: Int, size: Int, readOnly: Bool) throws {
        guard let path = Self.path else { throw DriverError.refused("There is no qemu-storage-daemon.") }
        let random = UInt64.random(in: 0..<1 << 60)
        let place = "/tmp/swvmm-driver-\(random)"
        self.place = place
        let file = try OwnedDescriptor.open("\(place).raw", flags: O_RDWR | O_CREAT | O_EXCL, mode: 0o600)
        try file.resize(to: UInt64(size))
        process = Slot(
            try ChildProcess(
                path: path,
                arguments: [
                    Self.program, "--blockdev", "file,filename=\(place).raw,node-name=f,discard=unmap,read-only=\(readOnly ? "on" : "off")",
                    "--export",
                    "vhost-user-blk,id=e,node-name=f,addr.type=unix,addr.path=\(place).sock,num-queues=\(queues),writable=\(readOnly ? "off" : "on")",
                ]))
    }

    deinit {
        if let process = process.take() { _ = process.terminate(graceMilliseconds: 2000) }
        unsafe unlink("\(place).raw")
        unsafe unlink("\(place).sock")
    }

    /// Connects as soon as it listens.
    func connect() throws -> OwnedDescriptor {
        for _ in 0..<300 {
            if let socket = try? UnixSocket.connect(to: "\(place).sock") { return socket }
            usleep(100_000)
        }
        throw DriverError.timedOut
    }

    func kill() throws {
        guard let process = process.take() else { return }
        _ = process.terminate(graceMilliseconds: 0)
    }
}
