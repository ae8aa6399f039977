public import Host
import GuestMemory
import Virtqueue

/// A device between two stops, as its code sees it: its queues, and the thread that it runs on.
///
/// For the loop's thread, but for the values that do not change.
public final class RunningDevice: Sendable, EventLoopClient {
    /// What was negotiated, guest memory, and the way to the driver.
    public let context: DeviceContext
    /// The loop that the device's code runs on: for timers and descriptors.
    public let loop: EventLoop
    /// The queues that the driver has enabled, in ascending order.
    public let configuredQueues: [Int]
    private let state: LoopLocal<State>

    private struct State {
        var ports: [QueuePort] = []
        let bells: Bells

        func port(_ queue: Int) throws(RuntimeError) -> QueuePort {
            guard let port = ports.first(where: { $0.index == queue }) else { throw .noSuchQueue(queue) }
            return port
        }
    }

    /// See `DeviceBuilder.build`.
    init(_ queues: consuming [Slot<ActiveQueue>], _ context: DeviceContext, on loop: EventLoop) {
        self.context = context
        self.loop = loop
        let health = DeviceHealth(context)
        let bells = Bells(on: loop)
        var ports: [QueuePort] = []
        for slot in queues {
            guard let queue = slot.take() else { continue }
            ports.append(QueuePort(queue, health, on: loop))
        }
        ports.sort { $0.index < $1.index }
        for port in ports {
            port.token = loop.reserve { _ in
                port.kick.drain()
                if bells.isTrapped { bells.ring(port.index) } else { port.waiter.signal() }
            }
        }
        configuredQueues = ports.map(\.index)
        state = LoopLocal(State(ports: ports, bells: bells), on: loop)
    }

    /// The chains of a queue: one stream at a time.
    public func takeStream(_ queue: Int) throws(RuntimeError) -> ChainStream {
        try state.withValue { state throws(RuntimeError) in
            let port = try state.port(queue)
            guard !port.isTaken else { throw .streamTaken(queue) }
            return ChainStream(port)
        }
    }

    /// Lets the one who waits for the queue's chains look again, as the doorbell does.
    public func notifyQueue(_ queue: Int) throws(RuntimeError) {
        try state.withValue { state throws(RuntimeError) in
            let port = try state.port(queue)
            guard port.isTaken else { throw .noStream(queue) }
            port.waiter.signal()
        }
    }

    /// The driver's doorbells, once. Without this call they go to the streams by themselves.
    public func takeBellTraps() throws(RuntimeError) -> BellTraps {
        try state.withValue { state throws(RuntimeError) in
            guard !state.bells.wereTaken else { throw .bellTrapsTaken }
            state.bells.wereTaken = true
            return BellTraps(state.bells)
        }
    }

    /// Passes doorbells on to the streams until the device is stopped. A doorbell of a queue whose stream nobody has taken is an error.
    public func runDeviceNotify(_ bells: consuming BellTraps) async throws(RuntimeError) {
        while let queue = await bells.next() { try notifyQueue(queue) }
    }

    /// Makes what was returned in all queues visible to their drivers at once, instead of when the device waits.
    public func flush() {
        state.withValue { state in
            for port in state.ports { port.flush() }
        }
    }

    /// Publishes what tasks have returned that do not wait for chains themselves.
    public func loopWillWait() { flush() }

    /// Streams give no more chains.
    public func loopEnds() {
        state.withValue { state in
            for port in state.ports { port.source.stop() }
        }
    }

    /// Adds the doorbells to the loop's set.
    func listen() throws(SystemError) {
        try state.withValue { state throws(SystemError) in
            for port in state.ports { try loop.poller.add(port.kick.rawValue, token: port.token) }
        }
    }

    /// Gives the queues back with nothing in flight. After the device's function has returned.
    func close(into queues: inout QueueSet) {
        state.withValue { state in
            for port in state.ports {
                try? loop.poller.remove(port.kick.rawValue)
                loop.release(port.token)
                guard var ring = port.source.close() else { continue }
                if ring.publish() { context.interrupt.signalQueue(port.index) }
                queues.put(ActiveQueue(index: port.index, ring: ring, kick: port.kick))
            }
            state.ports = []
        }
    }
}

/// Puts a running device together from queues.
public struct DeviceBuilder: ~Copyable {
    private let context: DeviceContext
    private let loop: EventLoop
    private var queues: [Slot<ActiveQueue>] = []
    /// The indices of the queues that were added, in that order.
    public private(set) var configuredQueues: [Int] = []

    /// A device without queues.
    public init(_ context: DeviceContext, on loop: EventLoop) {
        self.context = context
        self.loop = loop
    }

    /// Adds a queue; a second one of the same index is refused (and dropped).
    public mutating func addQueue(_ queue: consuming ActiveQueue) throws(RuntimeError) {
        let index = queue.index
        guard !configuredQueues.contains(index) else { throw .alreadyConfigured(index) }
        configuredQueues.append(index)
        queues.append(Slot(queue))
    }

    /// The device. On the loop's thread.
    public consuming func build() -> RunningDevice {
        RunningDevice(queues, context, on: loop)
    }
}
