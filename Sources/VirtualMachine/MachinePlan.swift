public import Host
public import Machine
public import Virtio

/// Everything that a machine is made of: typed values and open descriptors. Whoever made it has resolved every path; the machine opens
/// nothing.
public struct MachinePlan: ~Copyable, Sendable {
    /// The VM's name, for log lines.
    public let name: String
    /// An open /dev/kvm.
    public let kvm: OwnedDescriptor
    /// Number of virtual CPUs (1…255).
    public let cpuCount: Int
    /// CPU features that the guest must not see, by their names in Linux's /proc/cpuinfo.
    public let cpuMask: [String]
    /// RAM in bytes.
    public let memorySize: UInt64
    /// The kernel: a bzImage or an ELF file.
    public let kernel: OwnedDescriptor
    /// The initial RAM disk.
    public let initrd: OwnedDescriptor?
    /// The kernel's command line.
    public let commandLine: String
    /// 32 bytes for the guest's random number generator; empty gives none.
    public let entropy: [UInt8]
    /// Where the serial port's output goes.
    public let serialOutput: any SerialOutput
    /// Whether a write to I/O port 0x501 ends the machine.
    public let debugExit: Bool
    /// The virtio devices, in the order in which the guest finds them.
    public let devices: [DevicePlan]

    /// Puts the parts together.
    public init(
        name: String, kvm: consuming OwnedDescriptor, cpuCount: Int, cpuMask: [String], memorySize: UInt64,
        kernel: consuming OwnedDescriptor, initrd: consuming OwnedDescriptor?, commandLine: String, entropy: [UInt8],
        serialOutput: any SerialOutput, debugExit: Bool, devices: [DevicePlan]
    ) {
        self.name = name
        self.kvm = kvm
        self.cpuCount = cpuCount
        self.cpuMask = cpuMask
        self.memorySize = memorySize
        self.kernel = kernel
        self.initrd = initrd
        self.commandLine = commandLine
        self.entropy = entropy
        self.serialOutput = serialOutput
        self.debugExit = debugExit
        self.devices = devices
    }
}

/// A device and how the guest is to see it.
public struct DevicePlan: Sendable {
    /// The configured id.
    public let id: String
    /// The transport.
    public let transport: TransportKind
    /// The device, with its descriptors already in it.
    public let device: any VirtioDevice

    /// Puts the parts together.
    public init(id: String, transport: TransportKind, device: any VirtioDevice) {
        self.id = id
        self.transport = transport
        self.device = device
    }
}
