import Virtqueue

/// BAR 0 of a virtio PCI function.
///
/// Fields answer accesses of their own width, 64-bit fields as two of 32 bits (virtio 1.3, 4.1.3.1). Any other access reads as zero and
/// writes nothing.
final class VirtioPCIRegisters: BusDevice {
    private let transport: VirtioTransport
    private let interrupts: VirtioPCIInterrupts

    init(transport: VirtioTransport, interrupts: VirtioPCIInterrupts) {
        self.transport = transport
        self.interrupts = interrupts
    }

    func read(at offset: UInt64, width: Int) -> UInt64 {
        switch offset {
        case VirtioPCILayout.common: readCommon(at: offset - VirtioPCILayout.common.lowerBound, width: width)
        case VirtioPCILayout.isr: width == 1 ? UInt64(interrupts.readISR()) : 0
        case VirtioPCILayout.device: transport.readConfiguration(at: offset - VirtioPCILayout.device.lowerBound, width: width)
        case VirtioPCILayout.pending: interrupts.msix.readPending(at: offset - VirtioPCILayout.pending.lowerBound, width: width)
        case VirtioPCILayout.table: interrupts.msix.readTable(at: offset - VirtioPCILayout.table.lowerBound, width: width)
        default: 0
        }
    }

    func write(_ value: UInt64, at offset: UInt64, width: Int) {
        switch offset {
        case VirtioPCILayout.common: writeCommon(value, at: offset - VirtioPCILayout.common.lowerBound, width: width)
        case VirtioPCILayout.device:
            transport.writeConfiguration(value, at: offset - VirtioPCILayout.device.lowerBound, width: width)
        case VirtioPCILayout.notify:
            let place = offset - VirtioPCILayout.notify.lowerBound
            guard place % VirtioPCILayout.notifyMultiplier == 0 else { return }
            transport.notify(queue: place / VirtioPCILayout.notifyMultiplier)
        case VirtioPCILayout.table:
            interrupts.msix.writeTable(value, at: offset - VirtioPCILayout.table.lowerBound, width: width)
        default: break
        }
    }

    // MARK: Common configuration

    /// A field of the common configuration structure (4.1.4.3).
    private enum Field {
        case register(TransportRegister)
        case configurationVector, queueVector
        /// queue_notify_off, and queue_notif_config_data, which would matter to VIRTIO_F_NOTIF_CONFIG_DATA: both are the queue's index.
        case queueIndex
    }

    private static func field(at offset: UInt64, width: Int) -> Field? {
        switch (offset, width) {
        case (0x00, 4): .register(.deviceFeatureSelect)
        case (0x04, 4): .register(.deviceFeatures)
        case (0x08, 4): .register(.driverFeatureSelect)
        case (0x0c, 4): .register(.driverFeatures)
        case (0x10, 2): .configurationVector
        case (0x12, 2): .register(.queueCount)
        case (0x14, 1): .register(.status)
        case (0x15, 1): .register(.configurationGeneration)
        case (0x16, 2): .register(.queueSelect)
        case (0x18, 2): .register(.queueSize)
        case (0x1a, 2): .queueVector
        case (0x1c, 2): .register(.queueReady)
        case (0x1e, 2): .queueIndex
        case (0x20, 4): .register(.queueAddress(.descriptor, high: false))
        case (0x24, 4): .register(.queueAddress(.descriptor, high: true))
        case (0x28, 4): .register(.queueAddress(.driver, high: false))
        case (0x2c, 4): .register(.queueAddress(.driver, high: true))
        case (0x30, 4): .register(.queueAddress(.device, high: false))
        case (0x34, 4): .register(.queueAddress(.device, high: true))
        case (0x38, 2): .queueIndex
        case (0x3a, 2): .register(.queueReset)
        // The administration virtqueue fields (0x3c, 0x3e) are zero: there is none.
        default: nil
        }
    }

    private func readCommon(at offset: UInt64, width: Int) -> UInt64 {
        guard let field = Self.field(at: offset, width: width) else { return 0 }
        let value: UInt32 =
            switch field {
            case .register(let register): transport.read(register)
            case .configurationVector: UInt32(interrupts.msix.vector(of: interrupts.configurationSource))
            case .queueVector: UInt32(transport.selectedQueue.map { interrupts.msix.vector(of: $0) } ?? MSIX.noVector)
            case .queueIndex: UInt32(truncatingIfNeeded: transport.selectedQueue ?? 0)
            }
        // The generation count has 32 bits in MMIO and 8 here.
        return UInt64(value) & (UInt64.max >> UInt64(64 - 8 * width))
    }

    private func writeCommon(_ value: UInt64, at offset: UInt64, width: Int) {
        guard let field = Self.field(at: offset, width: width) else { return }
        let value = UInt32(truncatingIfNeeded: value & (UInt64.max >> UInt64(64 - 8 * width)))
        switch field {
        case .register(.queueReady):
            // Only MMIO drivers may disable a queue (4.1.4.3.2).
            if value != 0 { transport.write(value, to: .queueReady) }
        case .register(let register): transport.write(value, to: register)
        case .configurationVector:
            interrupts.msix.setVector(UInt16(truncatingIfNeeded: value), of: interrupts.configurationSource)
        case .queueVector:
            if let queue = transport.selectedQueue { interrupts.msix.setVector(UInt16(truncatingIfNeeded: value), of: queue) }
        case .queueIndex: break
        }
    }
}
