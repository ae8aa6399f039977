import Host
import Synchronization
import Virtio
import Virtqueue

/// A receive queue, a transmit queue and the link that both lead to: the data path of one worker thread (virtio 1.3, 5.1.6).
struct QueuePair<Link: NetworkLink & ~Copyable>: ~Copyable, PairWorkload {
    let receiveIndex: Int
    let transmitIndex: Int
    var link: Link
    let state: LinkState
    let counters: NetworkCounters
    var view = LinkState.View()
    var context: DeviceContext?
    var receiver: ActiveQueue?
    var transmitter: ActiveQueue?
    /// Whether the pair is among those in use; frames go nowhere in the others.
    var isEnabled = true

    /// The chain that the next frame goes to; held from the moment it is popped until the frame has come.
    var held: ChainBuffer
    var isHolding = false
    /// Further chains of a frame that does not fit into `held`. Made when needed: most frames do.
    var more: FixedArray<ChainBuffer?>
    var moreCount = 0
    /// A frame that waits for chains.
    var waiting: ReceivedFrame?
    /// The chain being sent.
    var outgoing: ChainBuffer

    /// The most chains that one frame is spread over, behind the first.
    static var maxMore: Int { 63 }
    /// Frames moved in one direction before the other direction, and whoever wants to stop the thread, get a turn.
    static var batch: Int { 64 }

    /// A pair of the device whose queues have up to `queueSize` entries.
    init(index: Int, queueSize: UInt16, link: consuming Link, state: LinkState, counters: NetworkCounters) {
        receiveIndex = 2 * index
        transmitIndex = 2 * index + 1
        self.link = link
        self.state = state
        self.counters = counters
        held = ChainBuffer(capacity: Int(queueSize))
        outgoing = ChainBuffer(capacity: Int(queueSize))
        more = FixedArray(count: Self.maxMore) { _ in nil }
    }

    mutating func begin(_ context: DeviceContext) { self.context = context }

    mutating func attach(_ queue: consuming ActiveQueue) {
        if queue.index == receiveIndex {
            receiver = consume queue
        } else if queue.index == transmitIndex {
            transmitter = consume queue
        }
    }

    mutating func detach(_ index: Int) -> ActiveQueue? {
        if index == receiveIndex { return receiver.take() }
        return index == transmitIndex ? transmitter.take() : nil
    }

    mutating func end() { context = nil }

    mutating func run(until stop: EventFD) {
        guard let context else { return }
        do throws(PairFailure) {
            try process(context, until: stop)
        } catch {
            switch error {
            case .fault(let queue, let fault): context.fail(queue: queue, fault)
            case .system(let error): context.fail(queue: receiveIndex, "the worker cannot wait for events (\(error))")
            }
        }
        // Nothing of a chain that holds no complete frame has been used: the driver's buffers stay available.
        if var queue = receiver.take() {
            if waiting != nil, !Link.keepsReceivedFrame { counters.framesDropped.add() }
            rewindHeld(&queue.ring)
            receiver = consume queue
        }
        link.pause()
    }
}

/// Why a pair cannot go on.
enum PairFailure: Error {
    /// The driver broke a rule of a queue.
    case fault(queue: Int, QueueFault)
    /// The host could not do what the worker needs.
    case system(SystemError)
}
