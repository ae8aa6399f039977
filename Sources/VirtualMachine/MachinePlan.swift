public import GuestMemory
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
    /// What the guest starts from.
    public let origin: MachineOrigin
    /// Whether the machine waits for `wake` before anything runs.
    public let startsAsleep: Bool
    /// 16 random bytes: the VM Generation ID that the guest sees when it runs.
    public let generation: [UInt8]
    /// Whether RAM is a memory file, because devices in other processes serve the guest. Restored RAM says so itself.
    public let sharesMemory: Bool
    /// Whether it is noted which pages of RAM are written, so that a snapshot can tell what has changed since the last one.
    public let tracksWrites: Bool
    /// Where the serial port's output goes.
    public let serialOutput: any SerialOutput
    /// Whether a write to I/O port 0x501 ends the machine.
    public let debugExit: Bool
    /// The virtio devices, in the order in which the guest finds them.
    public let devices: [DevicePlan]

    /// Puts the parts together.
    public init(
        name: String, kvm: consuming OwnedDescriptor, cpuCount: Int, cpuMask: [String], memorySize: UInt64,
        origin: consuming MachineOrigin, startsAsleep: Bool, generation: [UInt8], sharesMemory: Bool, tracksWrites: Bool,
        serialOutput: any SerialOutput, debugExit: Bool, devices: [DevicePlan]
    ) {
        self.name = name
        self.kvm = kvm
        self.cpuCount = cpuCount
        self.cpuMask = cpuMask
        self.memorySize = memorySize
        self.origin = origin
        self.startsAsleep = startsAsleep
        self.generation = generation
        self.sharesMemory = sharesMemory
        self.tracksWrites = tracksWrites
        self.serialOutput = serialOutput
        self.debugExit = debugExit
        self.devices = devices
    }
}

/// What a guest starts from.
public enum MachineOrigin: ~Copyable, Sendable {
    /// A kernel.
    case boot(BootPlan)
    /// The state of a machine that was saved.
    case restore(RestorePlan)
}

/// A kernel and what it is given.
public struct BootPlan: ~Copyable, Sendable {
    /// The kernel: a bzImage or an ELF file.
    public let kernel: OwnedDescriptor
    /// The initial RAM disk.
    public let initrd: OwnedDescriptor?
    /// The kernel's command line.
    public let commandLine: String
    /// 32 bytes for the guest's random number generator; empty gives none.
    public let entropy: [UInt8]

    /// Puts the parts together.
    public init(kernel: consuming OwnedDescriptor, initrd: consuming OwnedDescriptor?, commandLine: String, entropy: [UInt8]) {
        self.kernel = kernel
        self.initrd = initrd
        self.commandLine = commandLine
        self.entropy = entropy
    }
}

/// A saved machine.
public struct RestorePlan: Sendable {
    /// RAM with the contents that were saved.
    public let memory: GuestMemory
    /// The saved state, typed, as soon as it has been read.
    public let state: PendingState
    /// What the guest's clocks do about the time since then.
    public let clockPolicy: ClockPolicy
    /// The identity of the snapshot, for snapshots of changes that lie on it.
    public let identity: String

    /// Puts the parts together.
    public init(identity: String, memory: GuestMemory, state: PendingState, clockPolicy: ClockPolicy) {
        self.identity = identity
        self.memory = memory
        self.state = state
        self.clockPolicy = clockPolicy
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
