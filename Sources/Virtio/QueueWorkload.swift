public import Host

/// What one worker thread of a device does: the data path of one or more queues.
///
/// The workload lives as long as its device. `DeviceWorkers` calls all methods, one at a time: `run` on the worker's thread, the others while
/// no thread runs. That is why it needs no lock of its own, and why it is the only owner of its queues.
public protocol QueueWorkload: ~Copyable, Sendable {
    /// The driver is ready, or the device wakes: what was negotiated, and where guest memory and interrupts are.
    mutating func begin(_ context: DeviceContext)
    /// Takes a queue over.
    mutating func attach(_ queue: consuming ActiveQueue)
    /// Gives a queue back; nil when it has none of that index.
    mutating func detach(_ index: Int) -> ActiveQueue?
    /// All queues are gone: forget what `begin` gave.
    mutating func end()
    /// Processes the attached queues until `stop` becomes readable. Looks at every queue once before it waits for the first time: a doorbell
    /// may have been rung while nobody listened.
    ///
    /// When it returns, nothing is in flight: no buffer of the guest will be written any more, every chain was completed or rewound, and what
    /// was completed is published. It does not read `stop`'s counter.
    mutating func run(until stop: EventFD)
}
