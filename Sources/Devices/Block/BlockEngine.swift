import Host
import Virtqueue

/// How the steps of requests reach the host's kernel. One engine serves one worker.
protocol BlockEngine: ~Copyable, Sendable {
    /// A descriptor that becomes readable when there are completions; nil when every step is done within `start`.
    var completionDescriptor: Int32? { get }

    /// Does a step, or queues it: the result (a count, or a negative error number), or nil when it will come as a completion.
    mutating func start(_ operation: BlockOperation, _ chain: borrowing ChainBuffer, _ backend: BlockBackend, token: UInt64) -> Int32?

    /// Hands over what was queued, and waits until `minimum` completions are there. EAGAIN and EBUSY: not now; nothing of it is lost.
    mutating func submit(waitingFor minimum: Int) throws(SystemError)

    /// Waits until there is a completion to take, for at most `milliseconds`.
    func waitForCompletion(atMost milliseconds: Int32)

    /// Whether there is a completion to take, as far as memory tells.
    var hasCompletion: Bool { get }

    /// The next completion; nil when there is none now.
    mutating func nextCompletion() -> (token: UInt64, result: Int32)?
}

/// One system call per step, done at once.
struct SynchronousBlockEngine: BlockEngine, ~Copyable {
    var completionDescriptor: Int32? { nil }

    mutating func start(_ operation: BlockOperation, _ chain: borrowing ChainBuffer, _ backend: BlockBackend, token: UInt64) -> Int32? {
        Self.perform(operation, chain, backend)
    }

    mutating func submit(waitingFor minimum: Int) {}

    func waitForCompletion(atMost milliseconds: Int32) {}

    var hasCompletion: Bool { false }

    mutating func nextCompletion() -> (token: UInt64, result: Int32)? { nil }

    /// Does a step with a system call of its own.
    static func perform(_ operation: BlockOperation, _ chain: borrowing ChainBuffer, _ backend: BlockBackend) -> Int32 {
        do {
            switch operation {
            case .read(let offset):
                return Int32(clamping: try backend.read(into: chain.writable, at: offset))
            case .write(let offset):
                return Int32(clamping: try backend.write(from: chain.readable, at: offset))
            case .writeZeros(let offset, let count):
                let zeros: InlineArray<1, HostRange> = [backend.zeroBytes(count)]
                return Int32(clamping: try backend.write(from: zeros.span, at: offset))
            case .allocate(let mode, let offset, let count):
                try backend.image.allocate(mode, at: offset, count: count)
            case .discardBlocks(let offset, let count):
                try backend.image.discardBlocks(at: offset, count: count)
            case .synchronize:
                try backend.image.synchronizeData()
            }
            return 0
        } catch {
            return 0 &- error.errno.rawValue
        }
    }
}

/// io_uring: the steps of a batch of requests with one system call, many in flight at once.
struct URingBlockEngine: BlockEngine, ~Copyable {
    private var ring: IOURing
    private var queued = 0
    /// What is done without the ring; nil: nothing.
    private var prompt: PromptTransfers?

    /// A ring for up to `requests` requests at once, each of which has one step in flight.
    init(requests: Int, prompt: PromptTransfers? = nil, witness: Int32? = nil) throws(SystemError) {
        self.prompt = prompt
        // Whoever takes this process over shall not open files with it.
        ring = try IOURing(entries: requests, restrictedTo: IOURing.Operation.allCases, witness: witness)
    }

    var completionDescriptor: Int32? { ring.rawDescriptor }

    mutating func start(_ operation: BlockOperation, _ chain: borrowing ChainBuffer, _ backend: BlockBackend, token: UInt64) -> Int32? {
        if let result = prompt?.perform(operation, chain, backend) { return result }
        let accepted: Bool
        switch operation {
        case .read(let offset):
            let ranges = chain.writable
            // The kernel begins with one worker at a time and takes more when one waits, which for a file in memory never happens.
            let onWorker = backend.isInMemory && chain.writableBytes > PromptTransfers.mostRead
            accepted = ring.read(
                backend.descriptor(for: ranges, at: offset), into: ranges, at: offset, onWorker: onWorker, token: token)
        case .write(let offset):
            let ranges = chain.readable
            accepted = ring.write(backend.descriptor(for: ranges, at: offset), from: ranges, at: offset, token: token)
        case .writeZeros(let offset, let count):
            let zeros: InlineArray<1, HostRange> = [backend.zeroBytes(count)]
            let ranges = zeros.span
            accepted = ring.write(backend.descriptor(for: ranges, at: offset), from: ranges, at: offset, token: token)
        case .allocate(let mode, let offset, let count):
            accepted = ring.allocate(backend.image.rawValue, mode, at: offset, count: count, token: token)
        case .synchronize:
            accepted = ring.synchronizeData(backend.image.rawValue, token: token)
        case .discardBlocks:
            // An ioctl, for which rings have no operation before Linux 6.12.
            return SynchronousBlockEngine.perform(operation, chain, backend)
        }
        // The ring has room for every request's one step; were it full after all, the step can still be done at once.
        guard accepted else { return SynchronousBlockEngine.perform(operation, chain, backend) }
        queued += 1
        return nil
    }

    mutating func submit(waitingFor minimum: Int) throws(SystemError) {
        guard queued > 0 || minimum > 0 else { return }
        try ring.submit(waitingFor: minimum)
        queued = 0
    }

    func waitForCompletion(atMost milliseconds: Int32) { ring.waitForCompletion(atMost: milliseconds) }

    var hasCompletion: Bool { ring.hasCompletion }

    mutating func nextCompletion() -> (token: UInt64, result: Int32)? { ring.nextCompletion() }
}
