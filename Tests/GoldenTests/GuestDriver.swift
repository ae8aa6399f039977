import Glibc
import GuestMemory
import Host
import Machine
import Transport
import Virtio
import Virtqueue

@testable import VirtualMachine

/// A guest's driver of one device in a machine without KVM: what brings devices into the states of the golden files.
struct GuestDriver {
    struct Stuck: Error {}

    /// A register, where each transport has it (virtio 1.3, 4.1.4.3 and 4.2.2).
    struct Register {
        let mmio: UInt64
        let pci: UInt64
        let width: Int

        static let driverFeatureSelect = Register(mmio: 0x24, pci: 0x08, width: 4)
        static let driverFeatures = Register(mmio: 0x20, pci: 0x0c, width: 4)
        static let status = Register(mmio: 0x70, pci: 0x14, width: 1)
        static let queueSelect = Register(mmio: 0x30, pci: 0x16, width: 2)
        static let queueSize = Register(mmio: 0x38, pci: 0x18, width: 2)
        static let queueReady = Register(mmio: 0x44, pci: 0x1c, width: 2)
        static let areas = [
            Register(mmio: 0x80, pci: 0x20, width: 4), Register(mmio: 0x90, pci: 0x28, width: 4),
            Register(mmio: 0xa0, pci: 0x30, width: 4),
        ]
    }

    let machine: GoldenMachine
    let transport: TransportKind
    /// The PCI slot, or the number of the MMIO slot.
    let slot: Int
    let features: Features
    let queueCount: Int
    /// Where its rings and buffers begin.
    let place: UInt64

    private static let queueSize: UInt16 = 16

    private var bus: AddressBus { machine.rehearsal.platform.memory }
    private func configuration(_ offset: UInt64) -> UInt64 { AddressMap.ecam.lowerBound + UInt64(slot) << 15 + offset }
    private var bar: UInt64 { (bus.read(at: configuration(0x10), width: 4) ?? 0) & 0xffff_fff0 }

    func write(_ register: Register, _ value: UInt64, offset: UInt64 = 0) {
        switch transport {
        case .pci: bus.write(value, at: bar + register.pci + offset, width: register.width)
        case .mmio: bus.write(value, at: (AddressMap.virtioMMIO(slot: slot)?.lowerBound ?? 0) + register.mmio + offset, width: 4)
        }
    }

    func negotiate() {
        for status: UInt64 in [0, 1, 3] { write(.status, status) }
        for half: UInt64 in 0...1 {
            write(.driverFeatureSelect, half)
            write(.driverFeatures, features.rawValue >> (32 * half) & 0xffff_ffff)
        }
        write(.status, 11)
    }

    private func area(_ index: Int, of queue: Int) -> UInt64 { place + UInt64(queue) << 16 + UInt64(index) << 14 }

    func setUp(queue: Int, enabled: Bool = true) {
        write(.queueSelect, UInt64(queue))
        write(.queueSize, UInt64(Self.queueSize))
        for (index, register) in Register.areas.enumerated() {
            write(register, area(index, of: queue) & 0xffff_ffff)
            write(register, area(index, of: queue) >> 32, offset: 4)
        }
        if enabled { write(.queueReady, 1) }
    }

    /// MSI-X with a vector for each source: the first one for configuration changes.
    func useMSIX(functionMask: Bool = false) {
        guard transport == .pci else { return }
        var capability = bus.read(at: configuration(0x34), width: 1) ?? 0
        while capability != 0, bus.read(at: configuration(capability), width: 1) != 0x11 {
            capability = bus.read(at: configuration(capability + 1), width: 1) ?? 0
        }
        for vector in 0...UInt64(queueCount) {
            let entry = bar + 0x6000 + 16 * vector
            for (offset, value) in [(UInt64(0), UInt64(0xfee0_0000)), (4, 0), (8, 0x30 + vector), (12, vector == 2 ? 1 : 0)] {
                bus.write(value, at: entry + offset, width: 4)
            }
        }
        bus.write(0x8000 | (functionMask ? 0x4000 : 0), at: configuration(capability + 2), width: 2)
        bus.write(0, at: bar + 0x10, width: 2)
        for queue in 0..<queueCount {
            write(.queueSelect, UInt64(queue))
            bus.write(UInt64(queue + 1), at: bar + 0x1a, width: 2)
        }
    }

    private func notify(_ queue: Int) {
        switch transport {
        case .pci: bus.write(UInt64(queue), at: bar + 0x3000 + 4 * UInt64(queue), width: 2)
        case .mmio: bus.write(UInt64(queue), at: (AddressMap.virtioMMIO(slot: slot)?.lowerBound ?? 0) + 0x50, width: 4)
        }
    }

    /// DRIVER_OK with all queues; then the requests, one after the other.
    func start(_ requests: [(queue: Int, readable: [UInt8], writable: Int)]) throws {
        negotiate()
        for queue in 0..<queueCount { setUp(queue: queue) }
        var queues = FixedArray<DriverQueue<GuestMemory>?>(count: queueCount) { _ in nil }
        for index in 0..<queueCount {
            var configuration = QueueConfiguration(maxSize: Self.queueSize)
            configuration.descriptorArea = area(0, of: index)
            configuration.driverArea = area(1, of: index)
            configuration.deviceArea = area(2, of: index)
            queues[index] = try DriverQueue(configuration, features: features.ring, memory: machine.memory)
        }
        write(.status, 15)
        let buffer = place + 0x7_0000
        for request in requests {
            machine.memory.write(request.readable, at: buffer)
            let readable = request.readable.isEmpty ? [] : [DriverBuffer(address: buffer, count: UInt32(request.readable.count))]
            let writable = request.writable == 0 ? [] : [DriverBuffer(address: buffer + 0x1000, count: UInt32(request.writable))]
            _ = try queues[request.queue]?.add(readable: readable.span, writable: writable.span)
            _ = queues[request.queue]?.publish()
            notify(request.queue)
            let deadline = MonotonicTime.now + 30_000
            while try queues[request.queue]?.popUsed() == nil {
                guard MonotonicTime.now < deadline else { throw Stuck() }
                usleep(1000)
            }
        }
    }
}

extension GuestDriver {
    /// Brings a device into a phase.
    func reach(_ phase: GoldenCase.Phase, _ device: GoldenCase.Device, usesMSIX: Bool) throws {
        switch phase {
        case .new: break
        case .configuring:
            negotiate()
            useMSIX(functionMask: true)
            setUp(queue: 0)
            if queueCount > 1 { setUp(queue: 1, enabled: false) }
        case .active, .inactive:
            if usesMSIX { useMSIX() }
            try start(device.requests)
            if phase == .inactive { write(.status, 0) }
        }
    }
}
