import Devices
import GuestMemory
import Host
import Machine
import Virtio
import Virtqueue

@testable import VirtualMachine

/// A device in one state, of which there is a golden file.
struct GoldenCase: Sendable, CustomStringConvertible {
    enum Device: String, Sendable, CaseIterable { case block, net, console, rng }

    enum Phase: String, Sendable, CaseIterable {
        /// No driver has looked at it.
        case new
        /// A driver has negotiated, and set up a part of the queues.
        case configuring
        /// Queues are in use.
        case active
        /// They were; the driver has reset it.
        case inactive
    }

    let device: Device
    let transport: TransportKind
    let phase: Phase
    var format = RingFormat.split

    /// The ring format matters only where there are rings.
    static let all = Device.allCases.flatMap { device in
        TransportKind.allCases.flatMap { transport in
            Phase.allCases.map { GoldenCase(device: device, transport: transport, phase: $0) } + [
                GoldenCase(device: device, transport: transport, phase: .active, format: .packed)
            ]
        }
    }

    var description: String {
        "\(device.rawValue)-\(transport.rawValue)-\(phase.rawValue)\(phase == .active ? "-\(format)" : "")"
    }
    var file: String { "devices/\(self).json" }

    /// What the device is called in its machine.
    static let id = "device"
}

extension GoldenCase.Device {
    /// A device of the kind, as it was when the golden files were written.
    func make(_ id: String = GoldenCase.id) throws -> any VirtioDevice {
        switch self {
        case .block:
            var configuration = BlockConfiguration(image: try makeMemoryFile(name: id, size: 1 << 20), label: id)
            configuration.serial = "GOLDEN"
            configuration.queues = 2
            configuration.engine = .sync
            configuration.packedRing = true
            return try BlockDevice(configuration)
        case .net:
            let configuration = NetworkConfiguration(
                label: id, mac: MACAddress(value: 0x5254_0012_3456), mtu: 1500, packedRing: true)
            return try NetworkDevice(configuration, nowhereWith: 2)
        case .console: return try ConsoleDevice(ConsoleConfiguration(label: id, packedRing: true), backend: .null)
        case .rng:
            var configuration = EntropyConfiguration(label: id)
            configuration.packedRing = true
            return try EntropyDevice(configuration)
        }
    }

    /// What a driver asks of it so that its rings and its own state are not as at the beginning: one chain each for some queues.
    var requests: [(queue: Int, readable: [UInt8], writable: Int)] {
        switch self {
        // A flush.
        case .block: [(queue: 0, readable: [4] + [UInt8](repeating: 0, count: 15), writable: 1)]
        // A frame; two pairs in use; promiscuous; one unicast and one multicast address.
        case .net:
            [
                (queue: 1, readable: [UInt8](repeating: 0, count: 72), writable: 0),
                (queue: 4, readable: [4, 0, 2, 0], writable: 1), (queue: 4, readable: [0, 0, 1], writable: 1),
                (
                    queue: 4, readable: [1, 0, 1, 0, 0, 0, 0x52, 0x54, 0, 1, 2, 3, 1, 0, 0, 0, 0x33, 0x33, 0, 0, 0, 1],
                    writable: 1
                ),
            ]
        case .console: [(queue: 1, readable: Array("hello".utf8), writable: 0)]
        case .rng: [(queue: 0, readable: [], writable: 16)]
        }
    }
}

/// A machine without KVM around new devices.
struct GoldenMachine {
    let rehearsal: Rehearsal
    let memory: GuestMemory

    init(_ plans: [DevicePlan], memory: GuestMemory? = nil) throws {
        self.memory = try memory ?? GuestMemory(ranges: [0..<4 << 20])
        rehearsal = try Rehearsal(
            map: try AddressMap(memorySize: self.memory.size, physicalAddressBits: 40), memory: self.memory, devices: plans,
            debugExit: false)
    }

    /// A machine with the device of a case, and no other.
    init(_ golden: GoldenCase, memory: GuestMemory? = nil) throws {
        try self.init(
            [DevicePlan(id: GoldenCase.id, transport: golden.transport, device: try golden.device.make())], memory: memory)
    }
}
