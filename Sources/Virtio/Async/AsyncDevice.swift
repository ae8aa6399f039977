/// A device whose data path is one asynchronous function: it takes streams of chains, and waits where it has nothing to do.
///
/// The function runs on the device's own thread and on no other: whatever it awaits has to be a thing of `RunningDevice` or of its event loop.
/// (`Task.yield`, `Task.sleep` and detached tasks would go to the cooperative pool, for which a jailed process has no threads.) Child
/// tasks stay on the thread too, and take turns with it. What belongs to the device and not to one activation is in its own properties.
public protocol AsyncDevice: ~Copyable, Sendable {
    /// Serves the queues of `device` from activation, wake or restart of a queue on, until the device is stopped: then all waits end, streams
    /// give nil, and the function returns. If it returns earlier, its queues stand still until the device is stopped.
    mutating func run(_ device: RunningDevice) async
}

/// What a device's code asked of its runtime cannot be.
public enum RuntimeError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The device has no such queue, or its driver did not enable it.
    case noSuchQueue(Int)
    /// A queue of that index is there already.
    case alreadyConfigured(Int)
    /// The queue's stream was taken and is not given back yet.
    case streamTaken(Int)
    /// Nobody has taken the queue's stream, so nobody would notice.
    case noStream(Int)
    /// The bell traps were taken before.
    case bellTrapsTaken

    /// One sentence for a person.
    public var description: String {
        switch self {
        case .noSuchQueue(let queue): "There is no queue \(queue)."
        case .alreadyConfigured(let queue): "There is a queue \(queue) already."
        case .streamTaken(let queue): "The stream of queue \(queue) is taken."
        case .noStream(let queue): "Nobody has taken the stream of queue \(queue)."
        case .bellTrapsTaken: "The bell traps were taken before."
        }
    }
}
