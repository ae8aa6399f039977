public import Host
import Synchronization

/// The worker threads of one device, and which queue is whose: activation, reset, sleep, wake, and single queues that stop and start, for
/// every device in the same way.
///
/// A worker has a thread only while it has queues. To take a queue from it, its thread is stopped, and started again for the queues that
/// remain. The methods are a device's hooks: called one at a time, and never by a worker's own thread.
public final class DeviceWorkers<Workload: QueueWorkload & ~Copyable>: QueueHost {
    private let label: String
    private let assignment: [Int]
    private let faults = FaultLog()
    private let state: Mutex<State>

    private struct State: ~Copyable {
        var workers: [Worker]
        var context: DeviceContext?
    }

    private struct Worker: Sendable {
        /// Holds the workload while no thread runs it.
        let parked: Slot<Workload>
        var thread: WorkerThread<Bool>?
        var queues: Set<Int> = []
    }

    /// Workers for a device called `label`. `assignment` gives for each queue of the device the index of its workload.
    public init(label: String, workloads: [Slot<Workload>], assignment: [Int]) {
        self.label = label
        self.assignment = assignment
        state = Mutex(State(workers: workloads.map { Worker(parked: $0) }, context: nil))
    }

    /// One worker for all `queueCount` queues of a device.
    public convenience init(label: String, workload: consuming Workload, queueCount: Int) {
        self.init(label: label, workloads: [Slot(workload)], assignment: Array(repeating: 0, count: queueCount))
    }

    /// What the workers were activated with; nil while the device is not active or asleep.
    public var context: DeviceContext? { state.withLock { $0.context } }

    /// Takes the queues of an activation and starts their workers.
    public func activate(_ activation: consuming Activation) throws(DeviceError) {
        try hold(activation)
        try resume()
    }

    /// Takes the queues of an activation, and starts nothing before `resume`: `sleep` and `reset` find them meanwhile.
    public func hold(_ activation: consuming Activation) throws(DeviceError) {
        let context = DeviceContext(activation, label: label, faults: faults)
        var queues: QueueSet? = activation.queues
        try state.withLock { state throws(DeviceError) in
            guard state.context == nil else { throw DeviceError("\(label) is active already.") }
            state.context = context
            for index in state.workers.indices { withParked(state.workers[index]) { $0.begin(context) } }
            guard var queues = queues.take() else { return }
            for index in assignment.indices {
                if let queue = queues.take(index) { attach(queue, &state) }
            }
        }
    }

    /// Stops all workers, which keep their queues. Harmless when the device is not active.
    public func pause() {
        state.withLock { state in
            for index in state.workers.indices { stop(index, &state) }
        }
    }

    /// Starts the workers of all queues that are held. Harmless when the device is not active.
    public func resume() throws(DeviceError) {
        try state.withLock { state throws(DeviceError) in
            for index in state.workers.indices { try start(index, &state) }
        }
    }

    /// Stops all workers and drops their queues. Harmless when the device is not active.
    public func reset() { _ = sleep() }

    /// Stops all workers and gives their queues back; nil when the device is not active.
    public func sleep() -> QueueSet? {
        state.withLock { state in
            guard state.context != nil else { return nil }
            var queues = QueueSet(count: assignment.count)
            for index in state.workers.indices {
                stop(index, &state)
                let held = state.workers[index].queues
                state.workers[index].queues = []
                withParked(state.workers[index]) { workload in
                    for queue in held {
                        if let queue = workload.detach(queue) { queues.put(queue) }
                    }
                    workload.end()
                }
            }
            state.context = nil
            return queues
        }
    }

    /// Goes on after `sleep`; with nil the device stays inactive.
    public func wake(_ activation: consuming Activation?) throws(DeviceError) {
        if let activation { try activate(activation) }
    }

    /// Stops one queue and gives it back; nil when it was not running.
    public func stopQueue(_ queue: Int) throws(DeviceError) -> ActiveQueue? {
        try state.withLock { state throws(DeviceError) in
            guard assignment.indices.contains(queue), state.workers.indices.contains(assignment[queue]) else { return nil }
            let index = assignment[queue]
            guard state.workers[index].queues.contains(queue) else { return nil }
            stop(index, &state)
            state.workers[index].queues.remove(queue)
            var taken: ActiveQueue?
            withParked(state.workers[index]) { taken = $0.detach(queue) }
            try start(index, &state)
            return taken
        }
    }

    /// Starts one queue of an active device.
    public func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) {
        let number = queue.index
        var incoming: ActiveQueue? = queue
        try state.withLock { state throws(DeviceError) in
            guard state.context != nil else { throw DeviceError("\(label) is not active, so queue \(number) cannot be started.") }
            guard assignment.indices.contains(number), state.workers.indices.contains(assignment[number]) else {
                throw DeviceError("\(label) has no queue \(number).")
            }
            let index = assignment[number]
            guard !state.workers[index].queues.contains(number) else { throw DeviceError("\(label): queue \(number) is running already.") }
            stop(index, &state)
            if let queue = incoming.take() { attach(queue, &state) }
            try start(index, &state)
        }
    }

    /// Calls `body` with a workload while its thread stands still, for changes that cannot be made while it runs.
    public func withStopped(worker index: Int, _ body: (inout Workload) -> Void) throws(DeviceError) {
        try state.withLock { state throws(DeviceError) in
            guard state.workers.indices.contains(index) else { return }
            stop(index, &state)
            withParked(state.workers[index], body)
            try start(index, &state)
        }
    }

    private func attach(_ queue: consuming ActiveQueue, _ state: inout State) {
        let number = queue.index
        let index = assignment[number]
        guard state.workers.indices.contains(index) else { return }
        state.workers[index].queues.insert(number)
        var incoming: ActiveQueue? = queue
        withParked(state.workers[index]) { workload in
            if let queue = incoming.take() { workload.attach(queue) }
        }
    }

    private func withParked(_ worker: Worker, _ body: (inout Workload) -> Void) {
        guard var workload = worker.parked.take() else { return }
        body(&workload)
        worker.parked.put(workload)
    }

    private func start(_ index: Int, _ state: inout State) throws(DeviceError) {
        guard state.context != nil, !state.workers[index].queues.isEmpty, state.workers[index].thread == nil else { return }
        let parked = state.workers[index].parked
        let name = state.workers.count == 1 ? label : "\(label)/\(index)"
        do {
            state.workers[index].thread = try WorkerThread(name: name, state: true) { _, stop in
                guard var workload = parked.take() else { return }
                workload.run(until: stop)
                parked.put(workload)
            }
        } catch {
            throw DeviceError("A worker thread of \(label) could not be started (\(error)).")
        }
    }

    private func stop(_ index: Int, _ state: inout State) {
        _ = state.workers[index].thread?.stop()
        state.workers[index].thread = nil
    }

    deinit { reset() }
}

/// What a device asks of its workers, whatever their workload is: the queue half of `VirtioDevice`.
public protocol QueueHost: AnyObject, Sendable {
    /// What the workers were activated with; nil while the device is not active or asleep.
    var context: DeviceContext? { get }
    /// Takes the queues of an activation and starts their workers.
    func activate(_ activation: consuming Activation) throws(DeviceError)
    /// Stops all workers and drops their queues. Harmless when the device is not active.
    func reset()
    /// Stops all workers and gives their queues back; nil when the device is not active.
    func sleep() -> QueueSet?
    /// Goes on after `sleep`; with nil the device stays inactive.
    func wake(_ activation: consuming Activation?) throws(DeviceError)
    /// Stops one queue and gives it back; nil when it was not running.
    func stopQueue(_ queue: Int) throws(DeviceError) -> ActiveQueue?
    /// Starts one queue of an active device.
    func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError)
}
