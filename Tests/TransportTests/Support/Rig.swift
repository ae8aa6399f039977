import GuestMemory
import Host
import Synchronization
import Testing
import Virtio
import Virtqueue

@testable import Transport

/// A machine with one device, and nothing real around it.
final class Rig {
    static let ecam: UInt64 = 0xe000_0000
    static let window: Range<UInt64> = 0xc000_0000..<0xc100_0000
    static let highWindow: Range<UInt64> = 0x8_0000_0000..<0x10_0000_0000

    let memory: GuestMemory
    let bus = AddressBus()
    let ports = AddressBus()
    let routing = FakeRouting()
    let doorbells = FakeDoorbells()
    let lines = [FakeLine(), FakeLine(), FakeLine(), FakeLine()]
    let edge: EventFD
    let pci: PCIBus
    let device: EchoDevice
    let kind: TransportKind
    let messages = Messages()
    /// The device under test, once it is plugged in.
    private(set) var hosted: (any HostedDevice)?

    init(_ kind: TransportKind, device: EchoDevice = EchoDevice(), slot: Int = 1, memory: GuestMemory? = nil) throws {
        self.kind = kind
        self.device = device
        self.memory = try memory ?? GuestMemory(ranges: [Layout.ram])
        edge = try EventFD()
        pci = PCIBus(
            memory: bus, window: Self.window, highWindow: Self.highWindow, lines: (lines[0], lines[1], lines[2], lines[3]))
        try bus.insert(PCIConfigurationWindow(pci), at: Self.ecam..<Self.ecam + PCIConfigurationWindow.bytesPerBus)
        try ports.insert(PCIConfigurationPorts(pci), at: PCIConfigurationPorts.ports)
        hosted = try plug(device, slot: slot)
    }

    /// Puts a device where a driver of this rig finds it.
    @discardableResult
    func plug(_ device: any VirtioDevice, slot: Int) throws -> any HostedDevice {
        let messages = messages
        switch kind {
        case .pci:
            return try VirtioPCIFunction(
                device: device, memory: memory, bus: pci, slot: slot, doorbells: doorbells, routing: routing
            ) { messages.add($0) }
        case .mmio:
            let base: UInt64 = 0xfe00_0000 + UInt64(slot - 1) * VirtioMMIODevice.size
            let hosted = try VirtioMMIODevice(
                device: device, memory: memory, base: base, doorbells: doorbells, interrupt: edge
            ) { messages.add($0) }
            try bus.insert(hosted, at: base..<base + VirtioMMIODevice.size)
            return hosted
        }
    }

    func driver(slot: Int = 1) -> any RegisterDriver {
        kind == .pci ? PCIRegisterDriver(self, slot: slot) : MMIORegisterDriver(self)
    }

    /// A write of a running guest: a doorbell catches it, or it traps.
    func guestWrite(_ value: UInt64, at address: UInt64, width: Int) {
        if doorbells.ring(address: address, width: UInt32(width), value: value) { return }
        bus.write(value, at: address, width: width)
    }

    /// Sends `text` through a queue and returns what came back; nil when the device did not see it.
    func echo(_ text: [UInt8], through queue: inout DriverQueue<GuestMemory>, index: Int, _ driver: any RegisterDriver) throws -> [UInt8]? {
        memory.write(text, at: Layout.buffers)
        let readable = [DriverBuffer(address: Layout.buffers, count: UInt32(text.count))]
        let writable = [DriverBuffer(address: Layout.buffers + 0x1000, count: UInt32(text.count))]
        _ = try queue.add(readable: readable.span, writable: writable.span)
        if queue.publish() { driver.notify(index) }
        guard device.process(index) == 1, let used = try queue.popUsed() else { return nil }
        _ = queue.setUsedNotifications(true)
        return memory.read(at: Layout.buffers + 0x1000, count: Int(used.written))
    }

    /// The driver's end of a queue that `RegisterDriver.setUpQueue` announces.
    func driverQueue(_ index: Int, size: UInt16 = 8, _ features: Features) throws -> DriverQueue<GuestMemory> {
        try DriverQueue(
            Layout.configuration(queue: index, size: size, maxSize: 64), features: features.ring, memory: memory)
    }
}

/// Log lines.
final class Messages: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
}
