import Host
import Synchronization
import Virtio
import Virtqueue

/// Whether the driver has shown that it listens. Input is kept until then.
///
/// Linux's driver drops what arrives between DRIVER_OK and the moment when it has hooked the port up with a terminal, and without
/// multiport nothing announces that moment; its first output comes just before or after it. Commands from a pipe would be lost.
final class ConsoleListener: Sendable {
    /// From the driver's first output until input is given to it, in nanoseconds.
    static let delay: UInt64 = 200_000_000

    private let spoken = Atomic(false)

    var hasSpoken: Bool { spoken.load(ordering: .relaxed) }

    func speak() { spoken.store(true, ordering: .relaxed) }

    /// A new driver, or the state that was saved.
    func set(_ value: Bool) { spoken.store(value, ordering: .relaxed) }
}

/// Moves bytes between the two queues of a console and its back-end: one task for each way, and one that waits for the back-end.
final class ConsoleService: AsyncDevice {
    /// receiveq of port 0 (virtio 1.3, 5.3.2).
    static let receiveQueue = 0
    /// transmitq of port 0.
    static let transmitQueue = 1

    private struct State: ~Copyable {
        var backend: CharacterBackend
        /// When input may be given to the driver; nil before its first output.
        var listensFrom: UInt64?
        /// A buffer waits for input.
        var wantsInput = false
        /// What has happened to the back-end.
        var events: [PollEvent] = []

        var isListening: Bool { listensFrom.map { $0 <= monotonicNanoseconds() } ?? false }
    }

    private let state: LoopLocal<State>
    private let listener: ConsoleListener
    private let counters: ConsoleCounters
    private let loop: EventLoop
    /// Something has happened to the back-end, or something else is wanted of it.
    private let attention: Waiter
    /// There may be room for output; there may be input, or a driver that listens.
    private let room: Waiter
    private let input: Waiter

    init(_ backend: consuming CharacterBackend, _ listener: ConsoleListener, _ counters: ConsoleCounters, on loop: EventLoop) {
        state = LoopLocal(State(backend: backend), on: loop)
        self.listener = listener
        self.counters = counters
        self.loop = loop
        attention = Waiter(loop)
        room = Waiter(loop)
        input = Waiter(loop)
    }

    func run(_ device: RunningDevice) async {
        state.withValue { $0.listensFrom = listener.hasSpoken ? 0 : nil }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.send(device) }
            group.addTask { await self.receive(device) }
            group.addTask { await self.watch(device) }
        }
    }

    /// Takes the driver's output, as fast as the back-end has room.
    private func send(_ device: RunningDevice) async {
        guard var stream = try? device.takeStream(Self.transmitQueue) else { return }
        // A queue that another process has served: its driver has written something, and listens.
        if !stream.isFresh { hear(at: 0) }
        while var chain = await stream.next() {
            if hear(at: monotonicNanoseconds() + ConsoleListener.delay), device.context.features.contains(.consoleSize) {
                // Without multiport Linux's driver takes the size only when it is told of a change, and it listens from now on.
                device.context.interrupt.signalConfigurationChange()
            }
            take(&chain, limit: nil)
            while chain.readable.count > 0 {
                // At the end nothing may stay half taken: the rest goes to the back-end's store, where the oldest bytes make room for it.
                let isOver = await room.wait() == .ended
                take(&chain, limit: isOver ? .max : nil)
            }
            chain.complete()
        }
    }

    /// Moves up to `limit` bytes of the chain to the back-end; by default as many as it has room for.
    private func take(_ chain: inout GuestChain, limit: Int?) {
        let before = chain.readable.count
        let isKept = state.withValue { state in
            var room = limit ?? state.backend.room
            while chain.readable.count > 0, room > 0 {
                state.backend.take(from: &chain.readable, limit: room)
                state.backend.flush()
                room = limit ?? state.backend.room
            }
            return state.backend.hasOutput
        }
        counters.bytesOut.add(UInt64(clamping: before - chain.readable.count))
        if isKept { attention.signal() }
    }

    /// The driver has written something. True when it is the first time.
    @discardableResult
    private func hear(at time: UInt64) -> Bool {
        let isFirst = state.withValue { state in
            guard state.listensFrom == nil else { return false }
            state.listensFrom = time
            return true
        }
        listener.speak()
        if isFirst { input.signal() }
        return isFirst
    }

    /// Fills the driver's buffers with input.
    private func receive(_ device: RunningDevice) async {
        guard var stream = try? device.takeStream(Self.receiveQueue) else { return }
        while var chain = await stream.next() {
            guard chain.writable.count > 0 else { continue }
            while !fill(&chain) {
                attention.signal()
                let listensFrom = state.withValue { $0.isListening ? nil : $0.listensFrom }
                // The chain is dropped then as it came, and stays in its queue.
                guard await input.wait(until: listensFrom) != .ended else { return }
            }
            counters.bytesIn.add(UInt64(chain.writable.written))
            chain.complete()
        }
    }

    /// Reads input into the chain; false when there is none, or nobody who listens.
    private func fill(_ chain: inout GuestChain) -> Bool {
        state.withValue { state in
            state.wantsInput = true
            guard state.isListening, case .bytes = state.backend.read(into: &chain.writable) else { return false }
            state.wantsInput = false
            return true
        }
    }

    /// Waits for the back-end on behalf of the other two.
    private func watch(_ device: RunningDevice) async {
        let token = loop.reserve(2) { [state, attention] event in
            state.withValue { $0.events.append(event) }
            attention.signal()
        }
        state.withValue { $0.backend.beginWaiting(token: token) }
        do throws(SystemError) {
            var reason = Waiter.Reason.signalled
            while reason != .ended {
                let isReady = try attend()
                reason = await attention.wait(until: isReady ? 0 : nil)
            }
        } catch {
            device.context.fail(queue: Self.transmitQueue, "its worker cannot go on (\(error))")
        }
        state.withValue { $0.backend.endWaiting(loop.poller) }
        loop.release(token, count: 2)
    }

    /// Looks after the back-end; true when it is ready without waiting.
    private func attend() throws(SystemError) -> Bool {
        let (isReady, hasNews) = try state.withValue { state throws(SystemError) in
            let room = state.backend.room
            let hasEvents = !state.events.isEmpty
            for event in state.events { state.backend.handle(event, poller: loop.poller) }
            state.events.removeAll(keepingCapacity: true)
            state.backend.flush()
            let wantsInput = state.wantsInput && state.isListening
            // The back-end may have taken output since the sender gave up: then nothing is left for which it would be heard of.
            let hasNews = hasEvents || state.backend.room > room
            return (try state.backend.updateWaiting(loop.poller, wantsInput: wantsInput), hasNews)
        }
        if isReady || hasNews {
            room.signal()
            input.signal()
        }
        return isReady
    }
}
