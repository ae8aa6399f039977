import Host
import Schema
import Synchronization
import Virtio
import Virtqueue

@testable import Devices

/// What a `ReluctantEngine` does next, and has done.
final class Reluctance: Sendable {
    /// How many submissions are refused before the next one is taken.
    let refusals = Atomic(0)
    /// Whether steps are done only when somebody waits for them.
    let isSlow = Atomic(false)
    /// Steps that were begun.
    let begun = Atomic(0)

    /// The error of this submission; nil: it is taken.
    func refuse() -> Errno? {
        let left = refusals.load(ordering: .sequentiallyConsistent)
        guard left > 0 else { return nil }
        refusals.store(left - 1, ordering: .sequentiallyConsistent)
        return left.isMultiple(of: 2) ? .wouldBlock : .busy
    }
}

/// A kernel that is short of memory or of room for completions, and says so.
struct ReluctantEngine: BlockEngine, ~Copyable {
    let reluctance: Reluctance
    private var queued: [(token: UInt64, result: Int32)] = []
    private var done: [(token: UInt64, result: Int32)] = []

    init(_ reluctance: Reluctance) { self.reluctance = reluctance }

    var completionDescriptor: Int32? { nil }
    var hasCompletion: Bool { !done.isEmpty }

    mutating func start(_ operation: BlockOperation, _ chain: borrowing ChainBuffer, _ backend: BlockBackend, token: UInt64) -> Int32? {
        queued.append((token, SynchronousBlockEngine.perform(operation, chain, backend)))
        reluctance.begun.add(1, ordering: .sequentiallyConsistent)
        return nil
    }

    mutating func submit(waitingFor minimum: Int) throws(SystemError) {
        if let errno = reluctance.refuse() { throw SystemError("io_uring_enter", errno) }
        guard minimum > 0 || !reluctance.isSlow.load(ordering: .sequentiallyConsistent) else { return }
        done += queued
        queued = []
    }

    func waitForCompletion(atMost milliseconds: Int32) {}

    mutating func nextCompletion() -> (token: UInt64, result: Int32)? { done.isEmpty ? nil : done.removeFirst() }
}

/// A disk with one queue on such a kernel.
final class ReluctantDisk: VirtioDevice {
    let reluctance = Reluctance()
    private let workers: DeviceWorkers<BlockWorker<ReluctantEngine>>

    init(_ file: borrowing OwnedDescriptor) throws {
        let properties = try BlockImage.inspect(file, named: "disk", blockSize: 512)
        let backend = try BlockBackend(
            image: try file.duplicate(), directImage: nil, properties: properties, readOnly: false, serial: "", writeback: true)
        let worker = try BlockWorker(
            backend, engine: ReluctantEngine(reluctance), queueCount: 1, counters: BlockCounters(), polling: PollingWindow(limit: 0))
        workers = DeviceWorkers(label: "disk", workload: worker, queueCount: 1)
    }

    var deviceType: DeviceType { .block }
    var debugLabel: String { "disk" }
    var queueMaxSizes: [UInt16] { [64] }
    var features: Features { .ours }
    var keepDescriptors: [Int32] { [] }
    func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) {}
    func activate(_ activation: consuming Activation) throws(DeviceError) { try workers.activate(activation) }
    func reset() { workers.reset() }
    func stopQueue(_ index: Int) throws(DeviceError) -> ActiveQueue? { try workers.stopQueue(index) }
    func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) { try workers.startQueue(queue) }
    func sleep() -> QueueSet? { workers.sleep() }
    func wake(_ activation: consuming Activation?) throws(DeviceError) { try workers.wake(activation) }
    func snapshot() -> JSONValue { [:] }
    func restore(_ state: SavedValue) throws(StateError) {}
}
