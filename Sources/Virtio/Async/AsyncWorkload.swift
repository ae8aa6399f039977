public import Host
import GuestMemory
import Virtqueue

/// Makes the data path of an `AsyncDevice` the work of a thread that `DeviceWorkers` starts and stops: so that activation, reset, sleep, wake
/// and single queues are the same for it as for all devices.
public struct AsyncWorkload<Device: AsyncDevice & ~Copyable>: QueueWorkload, ~Copyable {
    private let loop: EventLoop
    /// Holds the device while its function does not run.
    private let device: Slot<Device>
    private var queues: QueueSet
    private var context: DeviceContext?

    /// A workload for a device with `queueCount` queues, on a loop of its own.
    public init(_ device: consuming Device, queueCount: Int) throws(SystemError) {
        self.init(device, queueCount: queueCount, on: try EventLoop())
    }

    /// A workload for a device with `queueCount` queues, on a loop that nothing else runs on.
    public init(_ device: consuming Device, queueCount: Int, on loop: EventLoop) {
        self.loop = loop
        self.device = Slot(device)
        queues = QueueSet(count: queueCount)
    }

    /// Keeps the context for `run`.
    public mutating func begin(_ context: DeviceContext) { self.context = context }

    /// Keeps the queue for `run`.
    public mutating func attach(_ queue: consuming ActiveQueue) { queues.put(queue) }

    /// Gives a queue back.
    public mutating func detach(_ index: Int) -> ActiveQueue? { queues.take(index) }

    /// Forgets the context.
    public mutating func end() { context = nil }

    /// Runs the device's function on this thread until `stop`.
    public mutating func run(until stop: EventFD) {
        guard let context else { return }
        loop.adopt { serve(context, until: stop) }
    }

    private mutating func serve(_ context: DeviceContext, until stop: EventFD) {
        var builder = DeviceBuilder(context, on: loop)
        for index in 0..<queues.count {
            guard let queue = queues.take(index) else { continue }
            try? builder.addQueue(queue)
        }
        let running = builder.build()
        do throws(SystemError) {
            try running.listen()
            try loop.run(until: stop, for: running) { [device] in
                guard var work = device.take() else { return }
                await work.run(running)
                device.put(work)
            }
        } catch {
            context.fail(queue: running.configuredQueues.first ?? 0, "its worker cannot go on (\(error))")
        }
        running.close(into: &queues)
    }
}
