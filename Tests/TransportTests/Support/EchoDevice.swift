import GuestMemory
import Host
import Schema
import Synchronization
import Virtio
import Virtqueue

/// A device that writes back what it reads, on the test's own thread: `process` is its worker. It records every hook.
final class EchoDevice: VirtioDevice {
    struct State: ~Copyable {
        var queues: QueueSet?
        var interrupt: Interrupt?
        var features: Features = []
        var calls: [String] = []
        var bytes: [UInt8] = Array(1...16)
        var activationFails = false
        var resetFails = false
        var wakeFails = false
        var failsDuringActivation = false
        var echoed: Int64 = 0
    }

    static let ownFeature = Features(bit: 5)

    let deviceType: DeviceType
    let queueMaxSizes: [UInt16]
    let features: Features
    let sharedMemory: SharedMemoryRequest?
    let state = Mutex(State())
    var debugLabel: String { "echo" }
    var keepDescriptors: [Int32] { [] }

    init(
        type: DeviceType = .block, queueMaxSizes: [UInt16] = [64, 16], features: Features = [.ours, .ringPacked, ownFeature],
        sharedMemory: SharedMemoryRequest? = nil
    ) {
        deviceType = type
        self.queueMaxSizes = queueMaxSizes
        self.features = features
        self.sharedMemory = sharedMemory
    }

    var calls: [String] { state.withLock { $0.calls } }
    var negotiated: Features { state.withLock { $0.features } }
    var interrupt: Interrupt? { state.withLock { $0.interrupt } }
    func clearCalls() { state.withLock { $0.calls = [] } }
    func note(_ call: String) { state.withLock { $0.calls.append(call) } }

    func acknowledge(_ features: Features) {
        state.withLock {
            $0.features = features
            $0.calls.append("acknowledge")
        }
    }
    func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        let all = state.withLock { $0.bytes }
        for index in bytes.indices { bytes[index] = offset + index < all.count ? all[offset + index] : 0 }
    }
    func writeConfiguration(at offset: Int, from bytes: Span<UInt8>) {
        state.withLock { state in
            for index in bytes.indices where offset + index < state.bytes.count { state.bytes[offset + index] = bytes[index] }
        }
    }
    func activate(_ activation: consuming Activation) throws(DeviceError) {
        let interrupt = activation.interrupt
        let present = (0..<activation.queues.count).filter { activation.queues.contains($0) }
        note("activate \(present)")
        if state.withLock({ $0.activationFails }) { throw DeviceError("The echo device does not want to.") }
        var activation = activation
        let slot = Hand(activation.takeQueues())
        let fails = state.withLock { state in
            state.interrupt = interrupt
            state.queues = slot.take()
            return state.failsDuringActivation
        }
        if fails { interrupt.needsReset() }
    }
    func reset() throws(DeviceError) {
        note("reset")
        if state.withLock({ $0.resetFails }) { throw DeviceError("The echo device hangs.") }
        state.withLock { $0.queues = nil }
    }
    func stopQueue(_ index: Int) throws(DeviceError) -> ActiveQueue? {
        note("stop \(index)")
        return state.withLock { $0.queues?.take(index) }
    }
    func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) {
        note("start \(queue.index) size \(queue.ring.size)")
        let hand = QueueHand(queue)
        state.withLock { state in
            if let queue = hand.take() { state.queues?.put(queue) }
        }
    }
    func sleep() throws(DeviceError) -> QueueSet? {
        note("sleep")
        return state.withLock { $0.queues.take() }
    }
    func wake(_ activation: consuming Activation?) throws(DeviceError) {
        guard var activation else { return note("wake nil") }
        note("wake")
        if state.withLock({ $0.wakeFails }) { throw DeviceError("The echo device sleeps on.") }
        let interrupt = activation.interrupt
        let hand = Hand(activation.takeQueues())
        state.withLock { state in
            state.interrupt = interrupt
            state.queues = hand.take()
        }
    }
    func snapshot() throws(DeviceError) -> JSONValue { ["echoed": .integer(state.withLock { $0.echoed })] }
    func restore(_ saved: SavedValue) throws(StateError) {
        let count = try saved.read { (fields) throws(StateError) in try fields.integer("echoed", in: Int64(0)...(1 << 40)) }
        state.withLock { $0.echoed = count }
    }

    /// Drains a queue like a worker whose kick was signalled; the number of chains echoed, nil without a kick.
    func process(_ index: Int) -> Int? {
        let hand = state.withLock { QueueHand($0.queues?.take(index)) }
        guard var queue = hand.take() else { return nil }
        let interrupt = self.interrupt
        guard queue.kick.drain() else {
            giveBack(queue)
            return nil
        }
        var chain = ChainBuffer(capacity: 64)
        var count = 0
        do {
            repeat {
                while try queue.ring.pop(into: &chain) {
                    while let byte = chain.readInteger(as: UInt8.self) { chain.writeInteger(byte) }
                    queue.ring.complete(chain, written: chain.written)
                    count += 1
                }
            } while try queue.ring.enableNotifications()
        } catch {
            interrupt?.needsReset()
        }
        if queue.ring.publish() { interrupt?.signalQueue(index) }
        giveBack(queue)
        state.withLock { $0.echoed += Int64(count) }
        return count
    }

    private func giveBack(_ queue: consuming ActiveQueue) {
        let hand = QueueHand(queue)
        state.withLock { state in
            if let queue = hand.take() { state.queues?.put(queue) }
        }
    }
}

// A closure cannot consume what it captures: these carry a value into one.
final class Hand: Sendable {
    private let value: Mutex<QueueSet?>
    init(_ queues: consuming QueueSet) { value = Mutex(queues) }
    func take() -> QueueSet? { value.withLock { $0.take() } }
}

final class QueueHand: Sendable {
    private let value: Mutex<ActiveQueue?>
    init(_ queue: consuming ActiveQueue?) { value = Mutex(queue) }
    func take() -> ActiveQueue? { value.withLock { $0.take() } }
}

extension Activation {
    mutating func takeQueues() -> QueueSet {
        var queues = QueueSet(count: 0)
        swap(&queues, &self.queues)
        return queues
    }
}
