public import GuestMemory
public import Host
public import Hypervisor
public import Virtio
import Virtqueue

/// A virtio device behind memory-mapped registers (virtio 1.3, 4.2), version 2.
///
/// Registers answer aligned 32-bit accesses, configuration space those of 1, 2, 4 or 8 bytes. Any other access, the registers of the
/// legacy version among them, reads as zero and writes nothing.
public final class VirtioMMIODevice: BusDevice, HostedDevice {
    /// Bytes of address space that a device takes.
    public static let size: UInt64 = 0x1000

    /// Register offsets that are not in `TransportRegister` (4.2.2).
    private enum Offset {
        static let magic: UInt64 = 0x000
        static let version: UInt64 = 0x004
        static let device: UInt64 = 0x008
        static let vendor: UInt64 = 0x00c
        static let queueNotify: UInt64 = 0x050
        static let interruptStatus: UInt64 = 0x060
        static let interruptAcknowledge: UInt64 = 0x064
        static let sharedMemory: ClosedRange<UInt64> = 0x0b0...0x0bf
        static let configuration: UInt64 = 0x100
    }

    private static let magic: UInt32 = 0x7472_6976  // "virt"
    private static let version: UInt32 = 2
    private static let vendor: UInt32 = 0x4d56_5753  // "SWVM"

    let transport: VirtioTransport
    let interrupts: VirtioMMIOInterrupts

    /// The device behind the registers.
    public var device: any VirtioDevice { transport.device }

    /// Registers for `device` that the caller puts on the memory bus at `base`, `size` bytes. `interrupt` is an eventfd that is attached
    /// to the GSI announced to the guest, edge-triggered.
    ///
    /// `log` gets one line for each thing that the guest did wrong, thinned out.
    public init(
        device: any VirtioDevice, memory: GuestMemory, base: UInt64, doorbells registry: any DoorbellRegistry, interrupt: EventFD,
        log sink: @escaping @Sendable (String) -> Void
    ) throws(SystemError) {
        let log = GuestLog(label: device.debugLabel, sink)
        var kicks: [EventFD] = []
        for _ in device.queueMaxSizes { kicks.append(try EventFD()) }
        interrupts = VirtioMMIOInterrupts(interrupt, queueCount: device.queueMaxSizes.count)
        let doorbells = QueueDoorbells(registry: registry, kicks: kicks, log: log, base: base) { base, queue in
            Doorbell(space: .mmio, address: base &+ Offset.queueNotify, width: 4, match: UInt64(queue))
        }
        transport = VirtioTransport(
            device: device, memory: memory, kicks: kicks, interrupts: interrupts, doorbells: doorbells, log: log)
    }

    /// A guest's read of a register.
    public func read(at offset: UInt64, width: Int) -> UInt64 {
        if offset >= Offset.configuration {
            return transport.readConfiguration(at: offset - Offset.configuration, width: width)
        }
        guard width == 4 else { return 0 }
        switch offset {
        case Offset.magic: return UInt64(Self.magic)
        case Offset.version: return UInt64(Self.version)
        case Offset.device: return UInt64(device.deviceType.rawValue)
        case Offset.vendor: return UInt64(Self.vendor)
        case Offset.interruptStatus: return UInt64(interrupts.status)
        // No shared memory region exists here: all have length −1 (and address −1), whichever is selected.
        case Offset.sharedMemory where offset % 4 == 0: return UInt64(UInt32.max)
        default: return Self.readable(offset).map { UInt64(transport.read($0)) } ?? 0
        }
    }

    /// A guest's write to a register.
    public func write(_ value: UInt64, at offset: UInt64, width: Int) {
        if offset >= Offset.configuration {
            return transport.writeConfiguration(value, at: offset - Offset.configuration, width: width)
        }
        guard width == 4 else { return }
        let word = UInt32(truncatingIfNeeded: value)
        switch offset {
        case Offset.queueNotify: transport.notify(queue: UInt64(word))
        case Offset.interruptAcknowledge: interrupts.acknowledge(word)
        default: if let register = Self.writable(offset) { transport.write(word, to: register) }
        }
    }

    private static func readable(_ offset: UInt64) -> TransportRegister? {
        switch offset {
        case 0x010: .deviceFeatures
        case 0x034: .queueMaxSize
        case 0x044: .queueReady
        case 0x070: .status
        case 0x0c0: .queueReset
        case 0x0fc: .configurationGeneration
        default: nil
        }
    }

    private static func writable(_ offset: UInt64) -> TransportRegister? {
        switch offset {
        case 0x014: .deviceFeatureSelect
        case 0x020: .driverFeatures
        case 0x024: .driverFeatureSelect
        case 0x030: .queueSelect
        case 0x038: .queueSize
        case 0x044: .queueReady
        case 0x070: .status
        case 0x080: .queueAddress(.descriptor, high: false)
        case 0x084: .queueAddress(.descriptor, high: true)
        case 0x090: .queueAddress(.driver, high: false)
        case 0x094: .queueAddress(.driver, high: true)
        case 0x0a0: .queueAddress(.device, high: false)
        case 0x0a4: .queueAddress(.device, high: true)
        case 0x0c0: .queueReset
        default: nil
        }
    }
}
