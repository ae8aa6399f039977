import Virtio
import Virtqueue

// Queue registers (virtio 1.3, 4.1.4.3 and 4.2.2) and virtqueue reset (2.6.1). All of it runs with the transport's lock held.

extension VirtioTransport {
    /// The selected queue if its size and addresses may be written: features are negotiated and the queue is not in use.
    func configurableQueue(_ state: borrowing TransportState) -> Int? {
        guard let index = state.selectedQueue else { return nil }
        guard signals.status.contains(.featuresOK), !state.queues[index].ready else {
            log.report("the driver tried to configure queue \(index) before FEATURES_OK or while it was in use")
            return nil
        }
        return index
    }

    func writeQueueSize(_ value: UInt32, _ state: inout TransportState) {
        guard let index = configurableQueue(state) else { return }
        guard let size = UInt16(exactly: value), size <= state.queues[index].maxSize, state.driverFeatures.ring.format.allows(size: size)
        else { return log.report("the driver asked for \(value) descriptors in queue \(index), which it cannot have") }
        state.queues[index].size = size
    }

    /// A driver enables a queue before DRIVER_OK, or afterwards when it had been reset.
    func writeQueueReady(_ value: UInt32, _ state: inout TransportState) {
        switch value {
        case 1:
            guard let index = configurableQueue(state) else { return }
            state.queues[index].ready = true
            guard state.lifecycle.phase == .active else { return }
            do {
                try device.startQueue(try makeQueue(index, state))
                doorbells.arm(index)
            } catch {
                giveUp("queue \(index) could not be started: \(error)")
            }
        case 0:
            // PCI drivers must not do this (4.1.4.3.2); to MMIO drivers it is how a queue is given up (4.2.2.2).
            guard let index = state.selectedQueue, state.queues[index].ready, stop(index, state) else { return }
            state.queues[index].ready = false
        default:
            log.report("the driver wrote \(value) to enable a queue")
        }
    }

    func writeQueueReset(_ value: UInt32, _ state: inout TransportState) {
        guard value == 1, signals.status.contains(.featuresOK), state.driverFeatures.contains(.ringReset),
            let index = state.selectedQueue
        else { return }
        if state.queues[index].ready {
            guard stop(index, state) else { return }
        }
        state.resetQueue(index)
        interrupts.resetQueue(index)
    }

    /// Makes the device give a queue up, and drops it; false when it would not.
    private func stop(_ index: Int, _ state: borrowing TransportState) -> Bool {
        guard state.lifecycle.phase == .active else { return true }
        do throws(DeviceError) {
            _ = try device.stopQueue(index)
            return true
        } catch {
            giveUp("queue \(index) could not be stopped: \(error)")
            return false
        }
    }
}
