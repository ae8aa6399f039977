import Host
import Synchronization
import Virtio
import Virtqueue

extension VirtioTransport {
    /// Where the device is in its life.
    var lifecycle: Lifecycle {
        state.withLock { state in
            noteFailure(&state)
            return state.lifecycle
        }
    }

    /// The same without waiting; nil while somebody changes it.
    var settledLifecycle: Lifecycle? {
        state.withLockIfAvailable { state in
            noteFailure(&state)
            return state.lifecycle
        }
    }

    /// Stops the device and takes its queues.
    func sleep() throws {
        try state.withLock { state in
            noteFailure(&state)
            let next = try state.lifecycle.after(.sleep)
            let queues = try device.sleep()
            let isActive = state.lifecycle.phase == .active
            state.parked = consume queues
            if isActive, state.parked == nil {
                // It has lost its queues, and cannot go on before its driver has reset it.
                signals.deviceNeedsReset()
                throw DeviceError("\(device.debugLabel) went to sleep without giving its queues back.")
            }
            state.lifecycle = next
        }
    }

    /// Gives the device its queues back.
    func wake() throws {
        try state.withLock { state in
            let next = try state.lifecycle.after(.wake)
            guard next.phase == .active else {
                try device.wake(nil)
                state.lifecycle = next
                return
            }
            // A wake that failed before may have left them with the device, which could not give them back just then.
            if state.parked == nil { state.parked = try device.sleep() }
            guard let queues = state.parked.take() else { throw DeviceError("\(device.debugLabel) has no queues to wake with.") }
            let running = kicks.indices.filter { queues.contains($0) }
            do {
                try device.wake(makeActivation(state, queues))
            } catch {
                // For a want of threads, say: it sleeps on, and may wake another time.
                state.parked = try? device.sleep()
                throw error
            }
            state.lifecycle = next
            // A doorbell that rang in between, and an interrupt that was on its way, must not be lost; a spurious one is allowed.
            for index in running {
                doorbells.arm(index)
                kicks[index].signal()
                signals.repeatQueueUsed(index)
            }
            // Nor a change of configuration space while nobody could tell of it: the link, or the console's size, may be another one than before.
            signals.configurationChanged()
        }
    }
}
