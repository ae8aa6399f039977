public import Devices
public import Schema
public import Virtio

/// `vm.json`, typed. One type serves as the run file, its schema and the resolved document that `config show` prints.
public struct VMConfiguration: Sendable, Equatable {
    /// What happens when the guest asks for a reset.
    public enum RebootPolicy: String, Sendable, CaseIterable {
        /// swvmm ends, with the exit code for a reset.
        case exit
        /// The VM starts again from its kernel.
        case restart
    }

    /// The VM's name.
    public let name: String
    /// Number of virtual CPUs.
    public let cpuCount: Int
    /// CPU features, by their names in Linux's /proc/cpuinfo, that the guest must not see.
    public let cpuMask: [String]
    /// RAM in bytes.
    public let memorySize: UInt64
    /// Whether it is noted which pages of RAM are written, so that snapshots of changes need not compare.
    public let tracksWrites: Bool
    /// The kernel: a bzImage or an ELF file, absolute.
    public let kernel: String
    /// The initial RAM disk, absolute.
    public let initrd: String?
    /// The kernel's command line.
    public let commandLine: String
    /// How devices are shown to the guest unless they say otherwise.
    public let transport: TransportKind
    /// The serial port's host side; nil: stdio unless a console has it, else null.
    public let serial: CharacterBackendSettings?
    /// Where the virtual machine and its devices live.
    public let isolation: Isolation
    /// A directory with seccomp policies that take the place of built-in ones, absolute.
    public let policies: String?
    /// What happens when the process of a device ends.
    public let onCrash: CrashPolicy
    /// How often one device's process is started again within a minute.
    public let maxRestarts: Int
    /// What happens when the guest asks for a reset.
    public let onReboot: RebootPolicy
    /// Seconds between the power button and force, after SIGTERM.
    public let shutdownTimeout: Int
    /// Whether a write to I/O port 0x501 ends the VM with the written byte as exit code (for test payloads).
    public let debugExit: Bool
    /// The devices, in the order in which the guest finds them.
    public let devices: [DeviceSettings]

    /// RAM must be at least this, and a multiple of 2 MiB so that huge pages fit.
    static let memoryRange: ClosedRange<UInt64> = (16 << 20)...(1 << 40)

    /// Reads the document.
    public init(_ reader: ObjectReader) throws(ConfigError) {
        _ = try reader.optionalString("$schema", doc: "Where editors find the schema of this file.")
        name = try reader.optionalString("name", default: "vm", rule: .name, doc: "The VM's name.") ?? "vm"
        let cpus = try reader.object("cpus", doc: "Virtual CPUs.") { (cpus) throws(ConfigError) in
            (
                count: try cpus.integer("count", in: 1...255, default: 1, doc: "Number of virtual CPUs, at most the host's."),
                mask: try cpus.strings("mask", doc: "CPU features (names as in /proc/cpuinfo) that the guest must not see.")
            )
        }
        cpuCount = Int(cpus.count)
        cpuMask = cpus.mask
        (memorySize, tracksWrites) = try reader.object("memory", doc: "Guest RAM.") { (memory) throws(ConfigError) in
            (
                try memory.size(
                    "size", in: Self.memoryRange, multipleOf: 2 << 20, default: "512M", doc: "RAM: bytes, or a string such as \"512M\"."),
                try memory.bool(
                    "trackWrites", default: false,
                    doc: "Note which pages are written: snapshots of changes become quicker, the guest a little slower.")
            )
        }
        let boot = try reader.requiredObject("boot", doc: "What the guest starts from.") { (boot) throws(ConfigError) in
            (
                kernel: try boot.path("kernel", doc: "A Linux bzImage, or an ELF file with a PVH note or a 64-bit entry."),
                initrd: try boot.optionalPath("initrd", doc: "The initial RAM disk."),
                commandLine: try boot.optionalString("commandLine", default: "", doc: "The kernel's command line.") ?? ""
            )
        }
        (kernel, initrd, commandLine) = boot
        transport = try reader.choice("transport", default: TransportKind.pci, doc: "How devices are shown unless they say otherwise.")
        serial = try reader.object("serial", doc: "The serial port COM1.") { (serial) throws(ConfigError) in
            try CharacterBackendSettings.read(serial, default: nil)
        }
        isolation = try reader.choice(
            "isolation", default: Isolation.standard,
            doc: "Where the virtual machine and its devices live: each in a jailed process of its own, or all in one that is not jailed.")
        policies = try reader.optionalPath(
            "policies", doc: "A directory with seccomp policies (NAME.policy) that take the place of the built-in ones of the same name.")
        onCrash = try reader.choice(
            "onCrash", default: CrashPolicy.restart,
            doc: "What happens when the process of a device ends by itself, or a vhost-user back-end of others leaves: "
                + "it is started again or waited for, the VM ends, or the device fails.")
        maxRestarts = Int(
            try reader.integer(
                "maxRestarts", in: 0...1_000_000, default: 10,
                doc: "How often one device's process is started again, or its back-end waited for, within a minute; "
                    + "after that the device fails."))
        onReboot = try reader.choice("onReboot", default: RebootPolicy.exit, doc: "What happens when the guest asks for a reset.")
        shutdownTimeout = Int(
            try reader.integer(
                "shutdownTimeout", in: 0...3600, default: 10, doc: "Seconds that the guest gets to power off after SIGTERM."))
        debugExit = try reader.bool("debugExit", default: false, doc: "Let the guest end the VM through I/O port 0x501 (test payloads).")
        devices = try reader.objects("devices", doc: "The devices.") { (reader) throws(ConfigError) in try DeviceSettings(reader) }
        try checkAcrossFields(reader)
    }

    /// The serial port's host side after the default has been applied: the terminal belongs to one stream.
    public var resolvedSerial: CharacterBackendSettings { serial ?? (stdioConsole == nil ? .stdio : .null) }

    /// Whether devices in other processes, or in the host's kernel, need the guest's RAM.
    var sharesMemory: Bool { isolation == .process && !devices.isEmpty || devices.contains { $0.isForeign } }

    /// Where policies are looked for.
    var policyFiles: PolicyFiles { PolicyFiles(directory: policies) }

    /// The index of the console device that has the terminal.
    private var stdioConsole: Int? {
        devices.firstIndex {
            guard case .console(let console) = $0.kind else { return false }
            return console.backend == .character(.stdio)
        }
    }

    /// Rules that no single field can state.
    private func checkAcrossFields(_ reader: ObjectReader) throws(ConfigError) {
        var seen: [String: Int] = [:]
        var stdioOwner: String?
        for (index, device) in devices.enumerated() {
            let path = "devices[\(index)]"
            if let earlier = seen[device.id] {
                throw ConfigError(path: "\(path).id", "\"\(device.id)\" is already the id of devices[\(earlier)]; ids must differ.")
            }
            seen[device.id] = index
            if case .console(let console) = device.kind, console.backend == .character(.stdio) {
                if let stdioOwner { throw ConfigError(path: "\(path).backend", "stdio already belongs to \(stdioOwner).") }
                stdioOwner = "\(path).backend"
            }
        }
        if serial == .stdio, let stdioOwner {
            throw ConfigError(path: "serial.backend", "stdio already belongs to \(stdioOwner).")
        }
    }
}
