import GuestMemory
import Host
import Synchronization
import Virtio
import Virtqueue

/// What PCI and MMIO have in common: status, feature negotiation, queue registers, configuration space, and the device's life.
///
/// All hooks of the device are called with one lock held, so one at a time. Notifications of the device take another way,
/// `TransportSignals`, that needs no lock.
final class VirtioTransport: Sendable {
    let device: any VirtioDevice
    let memory: GuestMemory
    /// What the device offers, less what a transport would have to support and does not.
    let offered: Features
    /// One eventfd per queue that its doorbell signals; they live as long as the transport.
    let kicks: [EventFD]
    let signals: TransportSignals
    let interrupts: any TransportInterrupts
    let doorbells: QueueDoorbells
    let log: GuestLog
    let state: Mutex<TransportState>

    init(
        device: any VirtioDevice, memory: GuestMemory, kicks: [EventFD], interrupts: any TransportInterrupts, doorbells: QueueDoorbells,
        log: GuestLog
    ) {
        self.device = device
        self.memory = memory
        self.kicks = kicks
        self.interrupts = interrupts
        self.doorbells = doorbells
        self.log = log
        offered = device.features.subtracting(.needTransportSupport).union(.version1)
        signals = TransportSignals(interrupts, queueCount: kicks.count)
        state = Mutex(TransportState(maxSizes: Array(device.queueMaxSizes.prefix(kicks.count))))
    }

    /// The number of queues.
    var queueCount: Int { kicks.count }

    /// Reads a register; one that does not exist for the selected queue is 0.
    func read(_ register: TransportRegister) -> UInt32 {
        state.withLock { state in
            switch register {
            case .deviceFeatureSelect: return state.deviceFeatureSelect
            case .deviceFeatures: return offered.word(state.deviceFeatureSelect)
            case .driverFeatureSelect: return state.driverFeatureSelect
            case .driverFeatures: return state.driverFeatures.word(state.driverFeatureSelect)
            case .queueCount: return UInt32(truncatingIfNeeded: queueCount)
            case .status: return UInt32(signals.status.rawValue)
            case .configurationGeneration: return state.configuration.generation
            case .queueSelect: return state.queueSelect
            case .queueMaxSize: return state.selectedQueue.map { UInt32(state.queues[$0].maxSize) } ?? 0
            case .queueSize: return state.selectedQueue.map { UInt32(state.queues[$0].size) } ?? 0
            case .queueReady: return state.selectedQueue.map { state.queues[$0].ready ? 1 : 0 } ?? 0
            // A virtqueue reset is complete before the write that asked for it returns.
            case .queueReset: return 0
            case .queueAddress(let area, let high):
                guard let index = state.selectedQueue else { return 0 }
                let address = state.queues[index].address(of: area)
                return UInt32(truncatingIfNeeded: high ? address >> 32 : address)
            }
        }
    }

    /// Writes a register. What the driver must not write, or not now, changes nothing.
    func write(_ value: UInt32, to register: TransportRegister) {
        state.withLock { state in
            guard !state.lifecycle.isAsleep else {
                log.report("the driver wrote a register while the device was asleep")
                return
            }
            switch register {
            case .deviceFeatureSelect: state.deviceFeatureSelect = value
            case .driverFeatureSelect: state.driverFeatureSelect = value
            case .driverFeatures: writeFeatures(value, &state)
            case .status: writeStatus(value, &state)
            case .queueSelect: state.queueSelect = value
            case .queueSize: writeQueueSize(value, &state)
            case .queueReady: writeQueueReady(value, &state)
            case .queueReset: writeQueueReset(value, &state)
            case .queueAddress(let area, let high):
                guard let index = configurableQueue(state) else { return }
                state.queues[index].setAddress(of: area, high: high, to: value)
            case .deviceFeatures, .queueCount, .configurationGeneration, .queueMaxSize: break
            }
        }
    }

    /// The index of the queue that the registers show.
    var selectedQueue: Int? { state.withLock { $0.selectedQueue } }

    /// Reads the device-specific configuration space.
    func readConfiguration(at offset: UInt64, width: Int) -> UInt64 {
        state.withLock { $0.configuration.read(device, at: offset, width: width) }
    }

    /// Writes to the device-specific configuration space.
    func writeConfiguration(_ value: UInt64, at offset: UInt64, width: Int) {
        state.withLock { state in
            guard !state.lifecycle.isAsleep else { return }
            state.configuration.write(value, to: device, at: offset, width: width)
        }
    }

    /// An available buffer notification that was not caught by a doorbell (virtio 1.3, 2.9).
    func notify(queue: UInt64) {
        guard let index = Int(exactly: queue), index < kicks.count, signals.status.contains(.driverOK) else { return }
        kicks[index].signal()
    }
}

extension Features {
    /// VIRTIO_F_SR_IOV (37), VIRTIO_F_NOTIFICATION_DATA (38), VIRTIO_F_NOTIF_CONFIG_DATA (39) and VIRTIO_F_ADMIN_VQ (41): they change
    /// what transports do, and these transports do not do it.
    static let needTransportSupport: Features = [Features(bit: 37), Features(bit: 38), Features(bit: 39), Features(bit: 41)]

    /// Bits 32·index to 32·index + 31.
    func word(_ index: UInt32) -> UInt32 {
        index < 2 ? UInt32(truncatingIfNeeded: rawValue >> UInt64(32 * index)) : 0
    }
}
