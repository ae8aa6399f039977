public import GuestMemory
import Host
public import Virtqueue

/// A chain of a queue in guest memory.
public typealias GuestChain = DeviceChain<GuestMemory>

/// One queue of a running device: the ring, its doorbell, and the place where the stream waits. For the loop's thread.
@usableFromInline
final class QueuePort {
    let index: Int
    let kick: EventFD
    let isFresh: Bool
    @usableFromInline let source: ChainSource<GuestMemory>
    let waiter: Waiter
    private let health: DeviceHealth
    /// The doorbell's place in the loop's set.
    var token: UInt64 = 0
    var isTaken = false

    init(_ queue: consuming ActiveQueue, _ health: DeviceHealth, on loop: EventLoop) {
        index = queue.index
        kick = queue.kick
        isFresh = queue.ring.position == .initial
        source = ChainSource(queue.ring)
        waiter = Waiter(loop)
        self.health = health
    }

    /// Makes returned chains visible to the driver, and tells it if it wants to know.
    func flush() {
        if source.publish() { health.context.interrupt.signalQueue(index) }
    }

    /// Waits until there is a chain; nil when the device is being stopped.
    @usableFromInline
    func next() async -> GuestChain? {
        while true {
            if let fault = source.fault { health.fail(queue: index, fault) }
            flush()
            // After a fault nothing is served until the driver resets the device.
            let hasMore = !health.isBroken && source.enableNotifications()
            // Even with more to do, the loop has its turn: for other tasks, and to see that it is to stop.
            guard await waiter.wait(until: hasMore ? 0 : nil) != .ended else { return nil }
            guard !health.isBroken else { continue }
            source.disableNotifications()
            if let chain = source.pop() { return chain }
        }
    }
}

/// Whether the driver has broken a rule; one for all queues of a device. For the loop's thread.
final class DeviceHealth {
    let context: DeviceContext
    private(set) var isBroken = false

    init(_ context: DeviceContext) { self.context = context }

    func fail(queue: Int, _ fault: QueueFault) {
        guard !isBroken else { return }
        isBroken = true
        context.fail(queue: queue, fault)
    }
}
