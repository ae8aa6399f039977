public import GuestMemory
import Logging
import Synchronization
public import Virtqueue

/// What a device needs to process its queues: all of an `Activation` but the queues themselves. It can be copied to every worker.
public struct DeviceContext: Sendable {
    /// Guest RAM, in which rings and buffers lie.
    public let memory: GuestMemory
    /// The way back to the driver.
    public let interrupt: Interrupt
    /// What was negotiated.
    public let features: Features
    /// The device's short name, for log lines.
    public let label: String
    private let faults: FaultLog

    /// Puts the parts together.
    public init(memory: GuestMemory, interrupt: Interrupt, features: Features, label: String) {
        self.memory = memory
        self.interrupt = interrupt
        self.features = features
        self.label = label
        faults = FaultLog()
    }

    /// The parts of an activation that are not queues.
    public init(_ activation: borrowing Activation, label: String) {
        self.init(memory: activation.memory, interrupt: activation.interrupt, features: activation.features, label: label)
    }

    /// Gives up on the device until its driver resets it, because the driver broke a rule: DEVICE_NEEDS_RESET (virtio 1.3, 2.1.2).
    public func fail(queue: Int, _ fault: QueueFault) { fail(queue: queue, fault.description) }

    /// Gives up on the device until its driver resets it; `reason` goes to the log, and continues a sentence.
    public func fail(queue: Int, _ reason: String) {
        if faults.isFirst() {
            Logger(label: "swvmm.\(label)").warning("\(label), queue \(queue): \(reason); the device needs a reset")
        }
        interrupt.needsReset()
    }
}

/// One line for each activation: a driver that breaks rules may do it a million times a second.
private final class FaultLog: Sendable {
    private let seen = Atomic(false)
    func isFirst() -> Bool { !seen.exchange(true, ordering: .relaxed) }
}
