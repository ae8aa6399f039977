import Virtio
import Virtqueue

// The status machine (virtio 1.3, 2.1 and 3.1.1). All of it runs with the transport's lock held.

extension DeviceStatus {
    /// The bits that a driver sets.
    static let driverBits: DeviceStatus = [.acknowledge, .driver, .featuresOK, .driverOK, .failed]

    /// The order in which a driver sets its bits; each needs all that stand before it.
    fileprivate static let steps: [(bit: DeviceStatus, after: DeviceStatus)] = [
        (.acknowledge, []),
        (.driver, [.acknowledge]),
        (.featuresOK, [.acknowledge, .driver]),
        (.driverOK, [.acknowledge, .driver, .featuresOK]),
    ]
}

extension VirtioTransport {
    func writeStatus(_ value: UInt32, _ state: inout TransportState) {
        if value == 0 { return reset(&state) }
        guard let byte = UInt8(exactly: value) else { return log.report("the driver wrote status 0x\(String(value, radix: 16))") }
        let wanted = DeviceStatus(rawValue: byte).intersection(.driverBits)
        let current = signals.status
        guard wanted.isSuperset(of: current.intersection(.driverBits)) else {
            return log.report("the driver tried to clear status bits without a reset (from \(current.rawValue) to \(byte))")
        }
        if wanted.contains(.failed), !current.contains(.failed) {
            signals.set(.failed)
            log.report("the driver has given up on the device (FAILED)")
        }
        for step in DeviceStatus.steps where wanted.contains(step.bit) && !current.contains(step.bit) {
            // After FAILED or DEVICE_NEEDS_RESET only a reset leads on.
            let now = signals.status
            guard now.isDisjoint(with: [.failed, .needsReset]), now.isSuperset(of: step.after) else {
                return log.report("the driver set status \(byte) out of order (at \(now.rawValue))")
            }
            switch step.bit {
            case .featuresOK:
                guard acceptFeatures(&state) else { return }
                signals.set(.featuresOK)
            case .driverOK: activate(&state)
            default: signals.set(step.bit)
            }
        }
    }

    func writeFeatures(_ value: UInt32, _ state: inout TransportState) {
        guard !signals.status.contains(.featuresOK) else { return log.report("the driver wrote feature bits after FEATURES_OK") }
        switch state.driverFeatureSelect {
        case 0:
            state.driverFeatures = Features(rawValue: state.driverFeatures.rawValue & ~0xffff_ffff | UInt64(value))
        case 1:
            state.driverFeatures = Features(rawValue: state.driverFeatures.rawValue & 0xffff_ffff | UInt64(value) << 32)
        default:
            if value != 0 { state.acceptedUnknownFeatures = true }
        }
    }

    /// Whether the device can work with what the driver wrote (2.2.2); if so, the device learns of it.
    private func acceptFeatures(_ state: inout TransportState) -> Bool {
        let features = state.driverFeatures
        guard !state.acceptedUnknownFeatures, features.isSubset(of: offered) else {
            let excess = String(features.subtracting(offered).rawValue, radix: 16)
            log.report("the driver accepted features that were not offered (0x\(excess)), so FEATURES_OK stays clear")
            return false
        }
        guard features.contains(.version1) else {
            log.report("the driver did not accept VIRTIO_F_VERSION_1, so FEATURES_OK stays clear")
            return false
        }
        device.acknowledge(features)
        return true
    }

    /// The driver set DRIVER_OK. The bit shows before the device starts: it may need to report at once that it cannot go on.
    private func activate(_ state: inout TransportState) {
        noteFailure(&state)
        do {
            let next = try state.lifecycle.after(.activate)
            signals.set(.driverOK)
            var queues = QueueSet(count: queueCount)
            for index in state.queues.indices where state.queues[index].ready {
                queues.put(try makeQueue(index, state))
            }
            try activateDevice(makeActivation(state, consume queues))
            state.lifecycle = next
            for index in state.queues.indices where state.queues[index].ready { doorbells.arm(index) }
            signals.deliverConfigurationChange()
        } catch {
            giveUp("the device could not be activated: \(error)")
        }
    }

    /// Activates the device. One that cannot be activated is stopped again: the driver's reset will not reach it, since it never was active,
    /// and what of it has started must not go on in memory that is no longer its queues'.
    private func activateDevice(_ activation: consuming Activation) throws(DeviceError) {
        do throws(DeviceError) { try device.activate(activation) } catch {
            try? device.reset()
            throw error
        }
    }

    func reset(_ state: inout TransportState) {
        if state.lifecycle.phase == .active {
            do throws(DeviceError) { try device.reset() } catch {
                // Status must not read 0 while the device still runs; the driver may try again.
                return giveUp("the device could not be reset: \(error)")
            }
        }
        // Awake (writes do not come here while asleep), so the lifecycle allows it.
        if let next = try? state.lifecycle.after(.reset) { state.lifecycle = next }
        state.resetRegisters()
        // Status first: whoever passes on a notification of another process looks at it, and finds it 0 once interrupts have been forgotten.
        signals.clear()
        interrupts.reset()
    }

    /// Tells the driver that only a reset helps (2.1.2).
    func giveUp(_ reason: String) {
        log.report(reason)
        signals.deviceNeedsReset()
    }

    /// Brings into the lifecycle what a device thread reported without the lock.
    func noteFailure(_ state: inout TransportState) {
        guard signals.status.contains(.needsReset), let next = try? state.lifecycle.after(.fail) else { return }
        state.lifecycle = next
    }

    func makeActivation(_ state: borrowing TransportState, _ queues: consuming QueueSet) -> Activation {
        Activation(memory: memory, interrupt: Interrupt(signals), features: state.driverFeatures, queues: queues)
    }

    func makeQueue(_ index: Int, _ state: borrowing TransportState, at position: QueuePosition = .initial) throws(QueueFault) -> ActiveQueue
    {
        let ring = try GuestQueue(state.queues[index], features: state.driverFeatures.ring, position: position, memory: memory)
        return ActiveQueue(index: index, ring: ring, kick: kicks[index])
    }
}
