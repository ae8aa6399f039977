import Host
import Synchronization
import Virtqueue

/// The thread behind an `AsyncBlockDriver`: it alone has the queue.
struct AsyncBlockLoop: ~Copyable, Sendable {
    private let driver: BlockDriver
    private let mailbox: AsyncBlockDriver.Mailboxes
    private let poller: Poller
    private var queue: BlockQueue
    /// Taken from the mailbox, not yet in the queue; the first of them at `next`.
    private var backlog: [AsyncBlockRequest] = []
    private var next = 0
    /// Who waits for the request of a context, and the contexts that are free.
    private var waiting: [AsyncBlockRequest?]
    private var free: [Int]

    private enum Token {
        static var bell: UInt64 { 0 }
        static var completed: UInt64 { 1 }
        static var stop: UInt64 { 2 }
        static var changed: UInt64 { 3 }
    }

    init(_ driver: BlockDriver, _ queue: consuming BlockQueue, _ mailbox: AsyncBlockDriver.Mailboxes) throws(DriverError) {
        let poller = try hosted("make a poll set") { () throws(SystemError) in try Poller() }
        let completed = queue.completionDescriptor
        let transport = driver.transport
        try hosted("wait for a device") { () throws(SystemError) in
            try poller.add(mailbox.bell.rawValue, token: Token.bell)
            try poller.add(completed, token: Token.completed)
            try poller.add(signalsOf: transport.changeEvent.rawValue, token: Token.changed)
            if let hangup = transport.hangupDescriptor { try poller.add(hangup, token: Token.changed, readable: false) }
        }
        waiting = Array(repeating: nil, count: Int(queue.size))
        free = Array(0..<Int(queue.size))
        self.driver = driver
        self.queue = queue
        self.mailbox = mailbox
        self.poller = poller
    }

    /// Serves until `stop` is signalled, or the device is of no use any more.
    mutating func run(until stop: EventFD) {
        do throws(DriverError) {
            try serve(until: stop)
            end(.wrongState("The driver was closed."))
        } catch {
            end(error)
        }
    }

    private mutating func serve(until stop: EventFD) throws(DriverError) {
        try add(stop)
        while true {
            collect()
            try fill()
            queue.submit()
            if try take() { continue }
            if queue.prepareToWait() { continue }
            var isStopped = false
            var hasChanged = false
            do throws(SystemError) {
                try poller.wait { event in
                    if event.token == Token.stop { isStopped = true }
                    if event.token == Token.changed { hasChanged = true }
                }
            } catch {
                throw .host("wait for a device", error)
            }
            mailbox.bell.drain()
            if isStopped { return try finish() }
            if hasChanged, try !take() { try driver.transport.checkDevice() }
        }
    }

    private func add(_ stop: EventFD) throws(DriverError) {
        do throws(SystemError) { try poller.add(stop.rawValue, token: Token.stop) } catch { throw .host("wait for a device", error) }
    }

    /// Takes over what tasks have asked for.
    private mutating func collect() {
        if next == backlog.count {
            backlog.removeAll(keepingCapacity: true)
            next = 0
        }
        // Tasks that always find the queue full would make it grow for ever.
        if next * 2 > backlog.count {
            backlog.removeFirst(next)
            next = 0
        }
        let empty = backlog.isEmpty
        var taken = backlog
        backlog = []
        mailbox.box.withLock { box in
            if empty {
                swap(&taken, &box.requests)
            } else {
                taken += box.requests
                box.requests.removeAll(keepingCapacity: true)
            }
        }
        backlog = taken
    }

    /// Adds as much as the queue takes.
    private mutating func fill() throws(DriverError) {
        while next < backlog.count, let context = free.last {
            let request = backlog[next]
            do throws(DriverError) {
                try add(request.operation, context: UInt64(context))
                free.removeLast()
                waiting[context] = request
            } catch {
                if error == .queueFull, queue.inFlight > 0 { return }
                if case .brokenRing = error { throw error }
                request.continuation.resume(returning: .failure(error))
            }
            next += 1
        }
    }

    private mutating func add(_ operation: AsyncBlockRequest.Operation, context: UInt64) throws(DriverError) {
        switch operation {
        case .read(let offset, let buffer): try queue.read(at: offset, into: buffer, context: context)
        case .write(let offset, let buffer): try queue.write(at: offset, from: buffer, context: context)
        case .flush: try queue.flush(context: context)
        case .discard(let offset, let count): try queue.discard(at: offset, count: count, context: context)
        case .writeZeroes(let offset, let count, let unmap):
            try queue.writeZeroes(at: offset, count: count, unmap: unmap, context: context)
        case .identify: try queue.identify(context: context)
        }
    }

    /// Hands completions to those who wait for them; whether there was one.
    private mutating func take() throws(DriverError) -> Bool {
        var isAny = false
        while let completion = try queue.nextCompletion() {
            isAny = true
            guard let request = release(completion.context) else { continue }
            let answer: Result<String, DriverError> =
                switch (completion.status, request.operation) {
                case (.ok, .identify): .success(completion.identity)
                case (.ok, _): .success("")
                default: .failure(.failed(completion.status))
                }
            request.continuation.resume(returning: answer)
        }
        return isAny
    }

    private mutating func release(_ context: UInt64) -> AsyncBlockRequest? {
        guard let index = Int(exactly: context), waiting.indices.contains(index), let request = waiting[index] else { return nil }
        waiting[index] = nil
        free.append(index)
        return request
    }

    /// Waits for what is with the device.
    private mutating func finish() throws(DriverError) {
        let deadline = MonotonicTime.now + BlockQueue.patience
        while queue.inFlight > 0 {
            guard try queue.wait(milliseconds: max(deadline - MonotonicTime.now, 0)) else { throw .timedOut }
            _ = try take()
        }
    }

    /// Nothing will be served any more: everybody who waits learns why.
    private mutating func end(_ error: DriverError) {
        if queue.inFlight > 0 {
            // The device keeps its hands off the buffers from here on, or has gone.
            try? driver.transport.reset()
            for context in queue.abandon() { release(context)?.continuation.resume(returning: .failure(error)) }
        }
        let rest = mailbox.box.withLock { box in
            box.ending = error
            defer { box.requests = [] }
            return box.requests
        }
        for request in backlog[min(next, backlog.count)...] + rest { request.continuation.resume(returning: .failure(error)) }
        backlog = []
        next = 0
    }
}
