import Host
import Virtio
import Virtqueue

/// The control queue (virtio 1.3, 5.1.6.5): takes commands from the driver and answers each with one byte. Belongs to the personality, not
/// to the data path.
struct ControlQueue: ~Copyable, QueueWorkload {
    private let core: NetworkCore
    private var context: DeviceContext?
    private var queue: ActiveQueue?
    private var chain: ChainBuffer

    init(core: NetworkCore) {
        self.core = core
        chain = ChainBuffer(capacity: Int(NetworkCore.controlQueueSize))
    }

    mutating func begin(_ context: DeviceContext) { self.context = context }
    mutating func attach(_ queue: consuming ActiveQueue) { self.queue = consume queue }
    mutating func detach(_ index: Int) -> ActiveQueue? { queue.take() }
    mutating func end() { context = nil }

    mutating func run(until stop: EventFD) {
        guard let context, var queue = queue.take() else { return }
        do {
            try serve(&queue, context, until: stop)
        } catch let fault as QueueFault {
            context.fail(queue: queue.index, fault)
        } catch {
            context.fail(queue: queue.index, "the worker cannot wait for events (\(error))")
        }
        self.queue = consume queue
    }

    private mutating func serve(_ queue: inout ActiveQueue, _ context: DeviceContext, until stop: EventFD) throws {
        let poller = try Poller()
        try poller.add(stop.rawValue, token: 0)
        try poller.add(queue.kick.rawValue, token: 1)
        while true {
            queue.ring.disableNotifications()
            repeat {
                while try queue.ring.pop(into: &chain) {
                    let written = answer(context)
                    queue.ring.complete(chain, written: written)
                }
                if queue.ring.publish() { context.interrupt.signalQueue(queue.index) }
            } while try queue.ring.enableNotifications()
            var isStopped = false
            try poller.wait { event in if event.token == 0 { isStopped = true } }
            if isStopped { return }
            queue.kick.drain()
        }
    }

    /// Carries out the command in the chain; the number of bytes written.
    private mutating func answer(_ context: DeviceContext) -> UInt32 {
        guard chain.writableBytes > 0 else { return 0 }
        var ack = NetworkPersonality.failed
        if chain.readableBytes <= NetworkPersonality.maxCommandSize {
            var command = [UInt8](repeating: 0, count: chain.readableBytes)
            var span = command.mutableSpan
            var bytes = span.untyped
            chain.read(into: &bytes)
            ack = core.execute(command, context) ? NetworkPersonality.ok : NetworkPersonality.failed
        }
        chain.writeInteger(ack)
        return chain.written
    }
}
