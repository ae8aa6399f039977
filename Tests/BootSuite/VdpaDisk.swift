import Glibc
import Host

/// Who serves a vDPA disk of the host's kernel, through VDUSE.
enum VdpaServer: String, CaseIterable {
    /// qemu-storage-daemon's export.
    case daemon = "qemu-storage-daemon"
    /// `swvmm device block --vduse`.
    case ours = "swvmm device"
}

/// A vDPA disk of the host's kernel, on an image: as root, in the lab.
final class VdpaDisk {
    let name: String
    private let server: VdpaServer
    private var process: RunningVM
    private var isAttached = false

    /// Starts the server and attaches its device. The disk's serial is `serial`.
    init(
        _ server: VdpaServer, _ options: Options, image: String, name: String = "suite0", serial: String = "data", queues: Int = 1,
        packed: Bool = false
    ) throws {
        self.name = name
        self.server = server
        // What an earlier server has left under the name is no device any more as soon as this one is there.
        let old = Command.shell("stat -c %i-%Z /dev/vduse/\(name)")
        guard Command.shell("modprobe -a vduse vhost_vdpa virtio_vdpa virtio_blk ext4 loop") != nil else {
            throw PeerFailure("the lab lacks vDPA")
        }
        switch server {
        case .daemon:
            guard let program = findProgram("qemu-storage-daemon") else { throw PeerFailure("there is no qemu-storage-daemon") }
            process = try RunningVM(
                program: program,
                arguments: [
                    "--blockdev", "file,filename=\(image),node-name=f,discard=unmap", "--export",
                    "vduse-blk,id=e,node-name=f,name=\(name),num-queues=\(queues),queue-size=128,writable=on,serial=\(serial)",
                ])
        case .ours:
            process = try RunningVM(
                program: options.swvmm,
                arguments: [
                    "device", "block", "--vduse", name, "path=\(image)", "serial=\(serial)", "queues=\(queues)", "packedRing=\(packed)",
                ])
        }
        try attach(unlike: old)
    }

    /// `vdpa dev add`, as soon as there is another node than the old one.
    private func attach(unlike old: String?) throws {
        let deadline = MonotonicTime.now + peerPatience
        while let old, Command.shell("stat -c %i-%Z /dev/vduse/\(name)") == old {
            try expectAlive()
            guard MonotonicTime.now < deadline else { throw PeerFailure("\(server.rawValue): an old device stays", context: complaints) }
            _ = usleep(50_000)
        }
        while !pathExists("/dev/vduse/\(name)") || Command.shell("vdpa dev add name \(name) mgmtdev vduse") == nil {
            try expectAlive()
            guard MonotonicTime.now < deadline else {
                throw PeerFailure("\(server.rawValue): there is no vDPA device", context: complaints)
            }
            _ = usleep(50_000)
        }
        isAttached = true
    }

    /// The node of vhost-vdpa.
    func node() throws -> String {
        guard let node = Command.shell("basename /sys/bus/vdpa/devices/\(name)/vhost-vdpa-*"), node.hasPrefix("vhost-vdpa-") else {
            throw PeerFailure("\(name) has no node of vhost-vdpa")
        }
        let path = "/dev/\(node)"
        let deadline = MonotonicTime.now + peerPatience
        while !pathExists(path) {
            guard MonotonicTime.now < deadline else { throw PeerFailure("\(path) does not appear") }
            _ = usleep(10_000)
        }
        return path
    }

    /// Makes it a disk of the host, in the place of a node; its path.
    func bindToHost(serial: String = "data") throws -> String {
        let bus = "/sys/bus/vdpa"
        let bind =
            "echo \(name) >\(bus)/drivers/vhost_vdpa/unbind; echo virtio_vdpa >\(bus)/devices/\(name)/driver_override && echo \(name) >\(bus)/drivers/virtio_vdpa/bind"
        guard Command.shell(bind) != nil else { throw PeerFailure("\(name) cannot be bound to virtio_vdpa", context: complaints) }
        let look = "for b in /sys/block/vd*; do [ \"$(cat $b/serial)\" = \(serial) ] && echo /dev/${b##*/}; done"
        let deadline = MonotonicTime.now + peerPatience
        while true {
            if let path = Command.shell(look), path.hasPrefix("/dev/") { return path }
            try expectAlive()
            guard MonotonicTime.now < deadline else {
                throw PeerFailure(
                    "no disk with serial \(serial) appears", context: complaints + lines(Command.shell("dmesg | tail -n 5") ?? ""))
            }
            _ = usleep(50_000)
        }
    }

    /// `vdpa dev del`.
    func detach() throws {
        guard isAttached else { return }
        guard Command.shell("vdpa dev del \(name)") != nil else { throw PeerFailure("\(name) cannot be taken away", context: complaints) }
        isAttached = false
    }

    var complaints: [String] {
        _ = process.nextLine(before: MonotonicTime.now + 10)
        return lines(process.complaints, last: 8).map { "\(server.rawValue): \($0)" }
    }

    func expectAlive() throws {
        _ = process.nextLine(before: MonotonicTime.now + 10)
        guard let status = process.status else { return }
        throw PeerFailure("\(server.rawValue) \(status)", context: complaints)
    }

    /// Ends the server with SIGTERM; how it ended.
    func terminate() throws -> ExitStatus {
        process.signal(SIGTERM)
        guard let status = process.waitForEnd(before: MonotonicTime.now + peerPatience) else {
            throw PeerFailure("\(server.rawValue) outlives SIGTERM", context: complaints)
        }
        return status
    }

    /// Takes the device away and ends the server, which must be well.
    func end() throws {
        try expectAlive()
        try detach()
        let status = try terminate()
        guard status == .exited(0), server == .daemon || process.complaints.isEmpty else {
            throw PeerFailure("\(server.rawValue): expected exit code 0 and no complaint, found \(status)", context: complaints)
        }
        guard !pathExists("/dev/vduse/\(name)") else { throw PeerFailure("/dev/vduse/\(name) is left behind") }
    }

    /// Whatever is left.
    func kill() {
        _ = Command.shell("vdpa dev del \(name)", seconds: 90)
        process.kill()
    }
}
