import Host
import Virtio
public import Virtqueue

/// A queue of requests to a device, through any transport: `add` some, `submit` them together, `wait`, take completions.
///
/// It belongs to one thread at a time, waits in the kernel and never polls. After its making it allocates nothing. Every request is known to
/// its owner by a number of his choice, which the completion gives back.
public struct RequestQueue<Request: RequestLayout>: ~Copyable, Sendable {
    /// A request that the device has answered, or will never answer.
    public struct Completion: Sendable {
        /// The number that was given with the request.
        public let context: UInt64
        /// What stands in the request's place now.
        public let request: Request
        /// How many bytes the device claims to have written, its part of the request's place included: at most as many as it could.
        public let written: UInt32
    }

    private var ring: DriverQueue<QueueBlock>
    /// The request that is being made.
    private var chain: RequestChain
    private let block: QueueBlock
    private let layout: QueueLayout
    /// Keeps the ring mapped.
    private let memory: SharedMemory
    private let transport: any VirtioTransport
    private let notifier: SubmissionNotifier
    private let completed: EventFD
    private let poller: Poller
    /// Places for requests that are free, a stack.
    private var freePlaces: [UInt16]
    private var freeCount: Int
    /// Which place and which context a token of the ring has.
    private var places: [UInt16]
    private var contexts: [UInt64]
    private var isBusy: [Bool]
    private var failure: DriverError?
    /// Notifications were switched off after the last wait.
    private var isQuiet = false

    /// Requests that are with the device, or will be with the next `submit`.
    public private(set) var inFlight = 0

    private enum Token {
        static var completed: UInt64 { 0 }
        static var changed: UInt64 { 1 }
        static var hangup: UInt64 { 2 }
    }

    init(
        _ transport: any VirtioTransport, index: Int, layout: QueueLayout, block: QueueBlock, memory: SharedMemory, ring: consuming Ring
    ) throws(DriverError) {
        let poller = try hosted("make a poll set") { () throws(SystemError) in try Poller() }
        let completed = try transport.completionEvent(index)
        let changed = transport.changeEvent.rawValue
        let hangup = transport.hangupDescriptor
        try hosted("wait for a device") { () throws(SystemError) in
            try poller.add(completed.rawValue, token: Token.completed)
            try poller.add(signalsOf: changed, token: Token.changed)
            if let hangup { try poller.add(hangup, token: Token.hangup, readable: false) }
        }
        notifier = try transport.submissionNotifier(index)
        self.poller = poller
        self.completed = completed
        self.ring = ring.queue
        self.transport = transport
        self.layout = layout
        self.block = block
        self.memory = memory
        chain = RequestChain(transport.makeTranslator(), capacity: Int(layout.size), byteCount: Request.byteCount)
        freePlaces = Array(0..<layout.size)
        freeCount = Int(layout.size)
        places = Array(repeating: 0, count: Int(layout.size))
        contexts = Array(repeating: 0, count: Int(layout.size))
        isBusy = Array(repeating: false, count: Int(layout.size))
    }

    /// A ring in memory of its own, before the device gets it.
    struct Ring: ~Copyable {
        var queue: DriverQueue<QueueBlock>

        init(_ layout: QueueLayout, _ block: QueueBlock, _ features: RingFeatures) throws(DriverError) {
            let tables = IndirectTables(address: block.iova + UInt64(layout.tables), entries: layout.tableEntries)
            do throws(QueueFault) {
                queue = try DriverQueue(
                    layout.configuration(at: block.iova), features: features, memory: block,
                    indirectTables: layout.tableEntries > 0 ? tables : nil)
            } catch {
                throw .refused("A queue of \(layout.size) descriptors cannot be made (\(error)).")
            }
        }
    }

    /// The number of descriptors.
    public var size: UInt16 { layout.size }

    /// Makes one request available, which the device does not see before `submit`. `prepare` says what it is made of, in order: parts of
    /// `request`'s own place by their offset, and buffers in memory that the transport has shown to the device. These must be left alone until
    /// the request completes.
    ///
    /// - Parameter context: what the completion gives back.
    /// - Throws: `.queueFull`; `.notMapped`, `.noData`, `.chain` for buffers that make no request; what `prepare` throws. Nothing has happened
    ///   then.
    @inline(__always)
    public mutating func add(
        _ request: Request, context: UInt64, _ prepare: (inout RequestChain) throws(DriverError) -> Void
    ) throws(DriverError) {
        if let failure { throw failure }
        guard freeCount > 0 else { throw .queueFull }
        let place = freePlaces[freeCount - 1]
        let offset = layout.requests + layout.requestStride * Int(place)
        request.store(to: block.range.slice(from: offset, count: Request.byteCount))
        chain.begin(at: block.iova + UInt64(offset))
        try prepare(&chain)
        let token: UInt16
        do throws(DriverFault) {
            token = try chain.buffers.add(to: &ring)
        } catch {
            if case .full = error { throw .queueFull }
            throw .chain(error)
        }
        freeCount -= 1
        places[Int(token)] = place
        contexts[Int(token)] = context
        isBusy[Int(token)] = true
        inFlight += 1
    }

    /// Lets the device see what was added since the last time, and tells it if it wants to be told.
    public mutating func submit() { if ring.publish() { notifier.notify() } }

    /// Takes the next completion; nil when there is none now.
    ///
    /// - Throws: `.brokenRing` when the device breaks a rule. From then on the queue does nothing more; what is in flight is `abandon`ed.
    public mutating func nextCompletion() throws(DriverError) -> Completion? {
        if let failure { throw failure }
        let used: (token: UInt16, written: UInt32)?
        do throws(DriverFault) { used = try ring.popUsed() } catch {
            failure = .brokenRing(error)
            throw .brokenRing(error)
        }
        guard let used else { return nil }
        return release(used.token, written: used.written)
    }

    private mutating func release(_ token: UInt16, written: UInt32) -> Completion {
        let index = Int(token)
        let place = places[index]
        freePlaces[freeCount] = place
        freeCount += 1
        isBusy[index] = false
        inFlight -= 1
        let range = block.range.slice(from: layout.requests + layout.requestStride * Int(place), count: Request.byteCount)
        return Completion(context: contexts[index], request: Request(loadingFrom: range), written: written)
    }

    /// Gives every request up that is still in flight, and returns their contexts. Only after a reset of the transport, or when the device has
    /// gone: otherwise it may still write to their buffers.
    public mutating func abandon() -> [UInt64] {
        failure = failure ?? .wrongState("The queue was given up.")
        var contexts: [UInt64] = []
        for token in isBusy.indices where isBusy[token] { contexts.append(release(UInt16(token), written: 0).context) }
        return contexts
    }

    /// Waits until there is a completion to take, for at most `milliseconds`; false when the time is up.
    ///
    /// - Parameter count: how many completions the device had better have before it wakes the caller, of those in flight: fewer wake-ups for
    ///   later ones. It is a wish: fewer may be there, and with a device that holds one request back the others wait for the time to be up.
    /// - Throws: `.needsReset` or `.gone` when the device will not answer any more, `.brokenRing` as before.
    public mutating func wait(milliseconds: Int64, for count: Int = 1) throws(DriverError) -> Bool {
        if let failure { throw failure }
        let deadline = MonotonicTime.now + milliseconds
        while true {
            if ring.requestUsedNotification(after: count) { break }
            let left = deadline - MonotonicTime.now
            guard left > 0 else { return ring.canPop }
            try poll(milliseconds: Int32(clamping: left))
            if ring.canPop { break }
        }
        // While completions are taken nobody needs to be told of more.
        ring.setUsedNotifications(false)
        return true
    }

    private mutating func poll(milliseconds: Int32) throws(DriverError) {
        var isCompleted = false
        var hasChanged = false
        do throws(SystemError) {
            try poller.wait(timeoutMilliseconds: milliseconds) { event in
                if event.token == Token.completed { isCompleted = true } else { hasChanged = true }
            }
        } catch {
            throw .host("wait for a device", error)
        }
        if isCompleted { completed.drain() }
        // What was completed before counts in any case.
        if hasChanged, !ring.canPop { try transport.checkDevice() }
    }

    /// A descriptor that becomes readable when `wait` would return: for poll sets of the caller's own. `prepareToWait` comes before.
    public var completionDescriptor: Int32 { completed.rawValue }

    /// Asks the device for a notification with the next completion. Returns true when there is one already, for which none may come.
    public mutating func prepareToWait() -> Bool {
        completed.drain()
        return ring.setUsedNotifications(true)
    }
}

/// A request while it is made.
public struct RequestChain: Sendable {
    private var place: UInt64 = 0
    private let byteCount: Int
    private var translator: IOVATranslator
    var buffers: RequestBuffers

    init(_ translator: IOVATranslator, capacity: Int, byteCount: Int) {
        self.translator = translator
        self.byteCount = byteCount
        buffers = RequestBuffers(capacity: capacity)
    }

    /// Forgets the request before; the next one has its own place at an address of the device.
    mutating func begin(at place: UInt64) {
        self.place = place
        buffers.clear()
    }

    /// A part of the request's own place that the device reads.
    public mutating func appendReadable(place part: Range<Int>) throws(DriverError) { try append(part, isWritable: false) }
    /// A part of the request's own place that the device writes.
    public mutating func appendWritable(place part: Range<Int>) throws(DriverError) { try append(part, isWritable: true) }
    /// A buffer that the device reads.
    public mutating func appendReadable(_ range: HostRange) throws(DriverError) { try append(range, isWritable: false) }
    /// A buffer that the device writes.
    public mutating func appendWritable(_ range: HostRange) throws(DriverError) { try append(range, isWritable: true) }

    private mutating func append(_ part: Range<Int>, isWritable: Bool) throws(DriverError) {
        guard part.lowerBound >= 0, part.upperBound <= byteCount else { throw .notMapped }
        try buffers.append(place + UInt64(part.lowerBound), part.count, isWritable: isWritable)
    }

    mutating func append(_ range: HostRange, isWritable: Bool) throws(DriverError) {
        guard range.count > 0 else { throw .noData }
        guard let address = translator.translate(range) else { throw .notMapped }
        try buffers.append(address, range.count, isWritable: isWritable)
    }
}
