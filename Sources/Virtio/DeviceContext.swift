public import GuestMemory
import Host
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

    /// The parts of an activation that are not queues. `faults` lives as long as the device, so that resets do not renew its allowance.
    init(_ activation: borrowing Activation, label: String, faults: FaultLog) {
        memory = activation.memory
        interrupt = activation.interrupt
        features = activation.features
        self.label = label
        self.faults = faults
    }

    /// The parts of an activation that are not queues, for who runs a device without `DeviceWorkers`.
    public init(_ activation: borrowing Activation, label: String) { self.init(activation, label: label, faults: FaultLog()) }

    /// Gives up on the device until its driver resets it, because the driver broke a rule: DEVICE_NEEDS_RESET (virtio 1.3, 2.1.2).
    public func fail(queue: Int, _ fault: QueueFault) { fail(queue: queue, fault.description) }

    /// Gives up on the device until its driver resets it; `reason` goes to the log, and continues a sentence.
    public func fail(queue: Int, _ reason: String) {
        if faults.allowsLine() {
            Logger(label: "swvmm.\(label)").warning("\(label), queue \(queue): \(reason); the device needs a reset")
        }
        interrupt.needsReset()
    }

    /// Says something that the machine's owner should know; the device goes on. For what cannot happen again and again.
    public func warn(_ text: String) { Logger(label: "swvmm.\(label)").warning("\(label): \(text)") }
}

/// Keeps a driver that breaks rules from filling the log: a few lines at once, then one in ten seconds.
final class FaultLog: Sendable {
    private static let line: UInt64 = 10
    private let bucket: Mutex<TokenBucket>

    init() { bucket = Mutex(TokenBucket(capacity: 3 * Self.line, perSecond: 1, now: monotonicNanoseconds())) }

    /// Whether a line may be written now.
    func allowsLine() -> Bool {
        bucket.withLock { bucket in
            guard bucket.nanoseconds(until: Self.line, now: monotonicNanoseconds()) == 0 else { return false }
            return bucket.take(upTo: Self.line, now: monotonicNanoseconds()) == Self.line
        }
    }
}
