public import ArgumentParser
import Schema
public import Supervisor

/// `swvmm device`.
struct DeviceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "device", abstract: "Serve one device to another VMM over vhost-user or to the host, or upgrade one of a running VM.",
        discussion: """
            The settings are those of an entry of 'devices' in vm.json, as KEY=VALUE; what is no JSON is a string, a dot leads into \
            an object:

              swvmm device block --socket disk.sock path=disk.img readOnly=true
              swvmm device net --socket net.sock backend.tap=tap0
              swvmm device rng --socket rng.sock
              swvmm device console --socket con.sock backend.file=console.log

            Front-ends are served one after the other until SIGTERM or SIGINT. Their RAM must be shared (in QEMU: -object \
            memory-backend-memfd,share=on).

            With --vduse the host's kernel is offered a disk instead, as a vDPA device:

              swvmm device block --vduse disk0 path=disk.img
              vdpa dev add name disk0 mgmtdev vduse     (then /dev/vhost-vdpa-N, or a disk of the host with virtio_vdpa)
              vdpa dev del disk0                        (before it ends)
            """,
        subcommands: [ServeDeviceCommand.self, UpgradeDeviceCommand.self], defaultSubcommand: ServeDeviceCommand.self)
}

/// `swvmm device upgrade`.
struct UpgradeDeviceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "upgrade", abstract: "Replace the process of a VM's device by one of the program as it is installed now.",
        discussion: "The VM must have \"isolation\": \"process\". The guest notices nothing.")

    @OptionGroup var vm: VMArgument

    @Argument(help: "The id of the device.")
    var id: String

    func run() throws { print("Device \"\(id)\" is served by process \(try ControlClient(name: vm.name).upgradeDevice(id)).") }
}

/// `swvmm device KIND`.
struct ServeDeviceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Serve a device; this is what 'device' does with the name of a kind.")

    @Argument(help: "The kind of device: block, net, rng or console.")
    var kind: DeviceKind

    @Option(
        name: [.customLong("socket"), .customLong("socket-path")],
        help: ArgumentHelp("Make a Unix socket here and listen on it.", valueName: "path"))
    var socket: String?

    @Option(help: ArgumentHelp("Use this inherited socket, listening or connected.", valueName: "number"))
    var fd: Int32?

    @Option(help: ArgumentHelp("Offer it to the host's kernel under this name, for block.", valueName: "name"))
    var vduse: String?

    @Option(help: ArgumentHelp("The same as path=FILE, for block.", valueName: "file"))
    var blkFile: String?

    @Flag(help: "The same as readOnly=true, for block.")
    var readOnly = false

    @Flag(help: "Print what management programs want to know, as JSON, and leave.")
    var printCapabilities = false

    @Argument(help: ArgumentHelp("Settings of the device.", valueName: "key=value"))
    var settings: [String] = []

    @OptionGroup var logging: LoggingOptions

    func validate() throws {
        guard !printCapabilities else { return }
        guard [socket != nil, fd != nil, vduse != nil].count(where: { $0 }) == 1 else {
            throw ValidationError("expected one of --socket PATH, --fd NUMBER and --vduse NAME.")
        }
        guard kind == .block || (blkFile == nil && !readOnly && vduse == nil) else {
            throw ValidationError("--blk-file, --read-only and --vduse belong to block.")
        }
    }

    func run() throws {
        if printCapabilities {
            print(JSONText.encode(kind.capabilities), terminator: "")
            return
        }
        var device = DeviceArguments(kind)
        if let blkFile { try device.set("path", .string(blkFile)) }
        if readOnly { try device.set("readOnly", true) }
        for setting in settings { try device.set(setting) }
        let door: DeviceServer.Door =
            if let vduse { .vduse(vduse) } else if let fd { .descriptor(fd) } else { .path(socket ?? "") }
        try DeviceServer(device, door: door, log: logging.log).run()
    }
}

extension DeviceKind: ExpressibleByArgument {}
