import Schema
import Synchronization
import Virtio

/// Queue pairs in another process, which fail when a test wants it. What they got in a wake they keep, and `sleep` gives it back.
final class FailingDataPath: VirtioDevice {
    private struct State: ~Copyable {
        var queues: QueueSet?
        var activationFails = false
        var sleepFails = false
    }

    private let state = Mutex(State())

    var deviceType: DeviceType { .network }
    var debugLabel: String { "pairs" }
    var queueMaxSizes: [UInt16] { [256, 256] }
    var features: Features { .ours }
    var keepDescriptors: [Int32] { [] }

    func setActivationFails(_ fails: Bool) { state.withLock { $0.activationFails = fails } }
    func setSleepFails(_ fails: Bool) { state.withLock { $0.sleepFails = fails } }

    func activate(_ activation: consuming Activation) throws(DeviceError) {
        do throws(DeviceError) { try begin(activation) } catch {
            state.withLock { $0.queues = nil }
            throw error
        }
    }

    private func begin(_ activation: consuming Activation) throws(DeviceError) {
        var queues = QueueSet(count: queueMaxSizes.count)
        for index in queueMaxSizes.indices {
            if let queue = activation.queues.take(index) { queues.put(queue) }
        }
        var incoming: QueueSet? = queues
        let fails = state.withLock { state in
            state.queues = incoming.take()
            return state.activationFails
        }
        if fails { throw DeviceError("The back-end does not want to.") }
    }

    func reset() throws(DeviceError) { state.withLock { $0.queues = nil } }
    func stopQueue(_ index: Int) throws(DeviceError) -> ActiveQueue? { state.withLock { $0.queues?.take(index) } }
    func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) {}

    func sleep() throws(DeviceError) -> QueueSet? {
        try state.withLock { state throws(DeviceError) in
            if state.sleepFails { throw DeviceError("The back-end hangs.") }
            return state.queues.take()
        }
    }

    func wake(_ activation: consuming Activation?) throws(DeviceError) {
        if let activation { try begin(activation) }
    }

    func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        for index in bytes.indices { bytes[index] = offset + index == 6 ? 1 : 0 }
    }

    func controlNotify(_ request: JSONValue) throws(DeviceError) {}
    func snapshot() throws(DeviceError) -> JSONValue { [:] }
    func restore(_ state: SavedValue) throws(StateError) {}
}
