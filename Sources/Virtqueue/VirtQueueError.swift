/// Why a `VirtQueue` could not do what it was asked for.
public enum VirtQueueError: Error, Equatable, Sendable {
    /// The queue's size is not one that its format allows, or more than the device offers.
    case size(Int, maximum: UInt16)
    /// The device has such a queue in use already.
    case alreadyUsed(UInt16)
    /// The HAL has no memory for the rings.
    case noMemory(pages: Int)
    /// The memory that the HAL made is not aligned, too short, or inconsistent.
    case badMemory(QueueFault)
    /// The device did not take the queue.
    case notTaken(UInt16)
    /// A buffer of the chain, counted from 0, has no bytes.
    case emptyBuffer(Int)
    /// The HAL could not share a buffer of the chain, counted from 0. The others are not shared any more.
    case notShared(Int)
    /// The chain cannot be added: see `DriverFault`. `full` says that it can later.
    case refused(DriverFault)
    /// `addNotifyWaitPop` with chains in flight, of which the device could finish any first.
    case notIdle(inFlight: Int)
    /// The device has not used the next chain yet.
    case notReady
    /// The next used chain is another one, and stays where it is.
    case wrongToken(UInt16, next: UInt16)
    /// The device broke a rule. The queue does nothing more; `stop` gives the buffers back.
    case device(DriverFault)
    /// The device did not answer for as long as the HAL was willing to wait. The queue is stopped.
    case timedOut
    /// The queue was stopped, or its device broke a rule before.
    case stopped
}

extension VirtQueueError: CustomStringConvertible {
    /// One sentence for the log.
    public var description: String {
        switch self {
        case .size(let size, let maximum):
            "a queue cannot have \(size) descriptors here (at most \(maximum), and a power of two for split rings)"
        case .alreadyUsed(let queue): "queue \(queue) is in use already"
        case .noMemory(let pages): "there is no memory for the \(pages) pages of a ring"
        case .badMemory(let fault): "the memory for a ring cannot be used: \(fault.description)"
        case .notTaken(let queue): "the device does not take queue \(queue)"
        case .emptyBuffer(let index): "buffer \(index) of a chain is empty"
        case .notShared(let index): "buffer \(index) of a chain cannot be made visible to the device"
        case .refused(let fault): fault.description
        case .notIdle(let count): "\(count) chains are in flight, so one cannot be waited for alone"
        case .notReady: "the device has not used a chain yet"
        case .wrongToken(let token, let next): "the next used chain is \(next), not \(token)"
        case .device(let fault): "the device broke a rule: \(fault.description)"
        case .timedOut: "the device did not answer in time"
        case .stopped: "the queue is stopped"
        }
    }
}
