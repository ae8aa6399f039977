import Host
import Synchronization
import Virtio
import Virtqueue

/// Whether the driver has shown that it listens. Input is kept until then.
///
/// Linux's driver drops what arrives between DRIVER_OK and the moment when it has hooked the port up with a terminal, and without
/// multiport nothing announces that moment; its first output comes just before or after it. Commands from a pipe would be lost.
final class ConsoleListener: Sendable {
    /// From the driver's first output until input is given to it, in milliseconds.
    static let delay: Int64 = 200

    private let spoken = Atomic(false)

    var hasSpoken: Bool { spoken.load(ordering: .relaxed) }

    func speak() { spoken.store(true, ordering: .relaxed) }

    /// A new driver, or the state that was saved.
    func set(_ value: Bool) { spoken.store(value, ordering: .relaxed) }
}

/// Moves bytes between the two queues of a console and its back-end: one thread for both ways.
struct ConsoleWorker: QueueWorkload, ~Copyable {
    /// receiveq of port 0 (virtio 1.3, 5.3.2).
    static var receiveQueue: Int { 0 }
    /// transmitq of port 0.
    static var transmitQueue: Int { 1 }

    private enum Token {
        static let stop: UInt64 = 0
        static let receive: UInt64 = 1
        static let transmit: UInt64 = 2
        /// And the one after it.
        static let backend: UInt64 = 8
    }

    private let poller: Poller
    private var backend: CharacterBackend
    private var receive: ActiveQueue?
    private var transmit: ActiveQueue?
    private var input: ChainBuffer
    private var output: ChainBuffer
    /// `output` holds a chain of which a part is still to be taken.
    private var isHolding = false
    private var context: DeviceContext?
    private var isBroken = false
    private let listener: ConsoleListener
    private let counters: ConsoleCounters
    /// When input may be given to the driver; nil before its first output.
    private var listensFrom: Int64?

    init(
        queueSize: UInt16, backend: consuming CharacterBackend, listener: ConsoleListener, counters: ConsoleCounters
    ) throws(SystemError) {
        poller = try Poller()
        self.listener = listener
        self.counters = counters
        self.backend = backend
        input = ChainBuffer(capacity: Int(queueSize))
        output = ChainBuffer(capacity: Int(queueSize))
    }

    mutating func begin(_ context: DeviceContext) { self.context = context }

    mutating func attach(_ queue: consuming ActiveQueue) {
        isBroken = false
        // A queue that another process has served: its driver has written something, and listens.
        if queue.index == Self.transmitQueue, queue.ring.position != .initial { listener.speak() }
        if queue.index == Self.receiveQueue { receive = consume queue } else { transmit = consume queue }
    }

    mutating func detach(_ index: Int) -> ActiveQueue? { index == Self.receiveQueue ? receive.take() : transmit.take() }

    mutating func end() { context = nil }

    mutating func run(until stop: EventFD) {
        guard let context else { return }
        var receive = receive.take()
        var transmit = transmit.take()
        backend.beginWaiting(token: Token.backend)
        listensFrom = listener.hasSpoken ? 0 : nil
        do {
            try poller.add(stop.rawValue, token: Token.stop)
            if let kick = receive?.kick { try poller.add(kick.rawValue, token: Token.receive) }
            if let kick = transmit?.kick { try poller.add(kick.rawValue, token: Token.transmit) }
            try serve(&receive, &transmit, context)
        } catch {
            context.fail(queue: Self.transmitQueue, "its worker cannot go on (\(error))")
        }
        if isHolding { release(&transmit, context) }
        backend.endWaiting(poller)
        if let kick = receive?.kick { try? poller.remove(kick.rawValue) }
        if let kick = transmit?.kick { try? poller.remove(kick.rawValue) }
        try? poller.remove(stop.rawValue)
        self.receive = receive.take()
        self.transmit = transmit.take()
    }

    private mutating func serve(
        _ receive: inout ActiveQueue?, _ transmit: inout ActiveQueue?, _ context: DeviceContext
    ) throws(SystemError) {
        while true {
            var wantsInput = false
            if !isBroken {
                do throws(QueueFault) {
                    try send(&transmit, context)
                    wantsInput = try take(&receive, context)
                } catch {
                    isBroken = true
                    context.fail(queue: Self.transmitQueue, error)
                }
            }
            backend.flush()
            let now = MonotonicTime.now
            let isListening = listensFrom.map { $0 <= now } ?? false
            let isReady = try backend.updateWaiting(poller, wantsInput: wantsInput && isListening)
            let delay = isListening ? nil : listensFrom.map { Int32(clamping: $0 - now) }
            var stopped = false
            var events = InlineArray<4, PollEvent?>(repeating: nil)
            var count = 0
            try poller.wait(timeoutMilliseconds: isReady ? 0 : delay) { event in
                switch event.token {
                case Token.stop: stopped = true
                case Token.receive, Token.transmit: break
                default:
                    if count < 4 {
                        events[count] = event
                        count += 1
                    }
                }
            }
            if stopped { return }
            receive?.kick.drain()
            transmit?.kick.drain()
            for index in 0..<count {
                if let event = events[index] { backend.handle(event, poller: poller) }
            }
        }
    }

    /// Takes the driver's output for as long as the back-end has room.
    private mutating func send(_ queue: inout ActiveQueue?, _ context: DeviceContext) throws(QueueFault) {
        guard queue != nil else { return }
        defer {
            if queue?.ring.publish() == true { context.interrupt.signalQueue(Self.transmitQueue) }
        }
        queue?.ring.disableNotifications()
        while true {
            if !isHolding {
                guard try queue?.ring.pop(into: &output) == true else {
                    guard try queue?.ring.enableNotifications() == true else { return }
                    continue
                }
            }
            if listensFrom == nil {
                listener.speak()
                listensFrom = MonotonicTime.now + ConsoleListener.delay
                // Without multiport Linux's driver takes the size only when it is told of a change, and it listens from now on.
                if context.features.contains(.consoleSize) { context.interrupt.signalConfigurationChange() }
            }
            takeOutput(limit: backend.room)
            backend.flush()
            isHolding = output.readableBytes > 0
            // Room comes when the reader reads, which the poller tells; the doorbell would not help.
            if isHolding, backend.room == 0 { return }
            if !isHolding { queue?.ring.complete(output, written: 0) }
        }
    }

    /// Moves up to `limit` bytes of the chain to the back-end.
    private mutating func takeOutput(limit: Int) {
        let before = output.readableBytes
        backend.take(from: &output, limit: limit)
        counters.bytesOut.add(UInt64(clamping: before - output.readableBytes))
    }

    /// At the end nothing may stay half taken: the rest goes to the back-end's store, where the oldest bytes make room for it.
    private mutating func release(_ queue: inout ActiveQueue?, _ context: DeviceContext) {
        isHolding = false
        takeOutput(limit: .max)
        backend.flush()
        queue?.ring.complete(output, written: 0)
        if queue?.ring.publish() == true { context.interrupt.signalQueue(Self.transmitQueue) }
    }

    /// Fills the driver's buffers with input; true when there is a buffer that waits for input.
    private mutating func take(_ queue: inout ActiveQueue?, _ context: DeviceContext) throws(QueueFault) -> Bool {
        guard queue != nil else { return false }
        defer {
            if queue?.ring.publish() == true { context.interrupt.signalQueue(Self.receiveQueue) }
        }
        queue?.ring.disableNotifications()
        while true {
            guard try queue?.ring.pop(into: &input) == true else {
                guard try queue?.ring.enableNotifications() == true else { return false }
                continue
            }
            guard input.writableBytes > 0 else {
                queue?.ring.complete(input, written: 0)
                continue
            }
            guard let from = listensFrom, from <= MonotonicTime.now, case .bytes = backend.read(into: &input) else {
                queue?.ring.rewind(input)
                return true
            }
            counters.bytesIn.add(UInt64(input.written))
            queue?.ring.complete(input, written: input.written)
        }
    }
}
