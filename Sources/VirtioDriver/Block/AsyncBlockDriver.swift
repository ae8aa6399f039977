import Host
import Synchronization
public import Virtqueue

/// The asynchronous face of one queue of a block device: any number of tasks ask, a thread of its own talks to the device.
///
/// Tasks wait for their own request alone. Requests that find the queue full wait their turn, in order. A task that is cancelled still waits:
/// the device has its buffer.
public final class AsyncBlockDriver: Sendable {
    /// What comes in, until the thread takes it.
    struct Mailbox: Sendable {
        var requests: [AsyncBlockRequest] = []
        /// Nothing is taken any more, and why.
        var ending: DriverError?
    }

    private let mailbox: Mailboxes
    private let worker: WorkerThread<Bool>

    /// The mailbox and its bell.
    final class Mailboxes: Sendable {
        let box = Mutex(Mailbox())
        let bell: EventFD
        init() throws(DriverError) { bell = try hosted("make an event") { () throws(SystemError) in try EventFD() } }
    }

    /// Takes queue `index` of a driver, and starts its thread.
    public init(_ driver: BlockDriver, queue index: Int = 0) throws(DriverError) {
        let mailbox = try Mailboxes()
        let loop = Slot(try AsyncBlockLoop(driver, try driver.takeQueue(index), mailbox))
        self.mailbox = mailbox
        worker = try hosted("start a thread") { () throws(SystemError) in
            try WorkerThread(name: "blk/\(index)", state: true) { _, stop in
                guard var loop = loop.take() else { return }
                loop.run(until: stop)
            }
        }
    }

    /// Ends it: what is with the device is waited for, what is not fails.
    public func close() { _ = worker.stop() }

    deinit { close() }

    /// Reads from `offset` on into a buffer in memory that the transport was given. Errors: see `BlockQueue.read`.
    public func read(at offset: UInt64, into buffer: HostRange) async throws(DriverError) { _ = try await perform(.read(offset, buffer)) }

    /// Writes a buffer to `offset`.
    public func write(at offset: UInt64, from buffer: HostRange) async throws(DriverError) { _ = try await perform(.write(offset, buffer)) }

    /// What has completed before reaches stable storage.
    public func flush() async throws(DriverError) { _ = try await perform(.flush) }

    /// The device may forget a part.
    public func discard(at offset: UInt64, count: UInt64) async throws(DriverError) { _ = try await perform(.discard(offset, count)) }

    /// A part becomes zeros.
    public func writeZeroes(at offset: UInt64, count: UInt64, unmap: Bool = false) async throws(DriverError) {
        _ = try await perform(.writeZeroes(offset, count, unmap))
    }

    /// The device's name.
    public func identity() async throws(DriverError) -> String { try await perform(.identify) }

    private func perform(_ operation: AsyncBlockRequest.Operation) async throws(DriverError) -> String {
        let answer = await withCheckedContinuation { continuation in
            let request = AsyncBlockRequest(operation: operation, continuation: continuation)
            let ending = mailbox.box.withLock { box in
                if box.ending == nil { box.requests.append(request) }
                return box.ending
            }
            if let ending { return continuation.resume(returning: .failure(ending)) }
            mailbox.bell.signal()
        }
        return try answer.get()
    }
}

/// What a task asks for, and where its answer goes.
struct AsyncBlockRequest: Sendable {
    enum Operation: Sendable {
        case read(UInt64, HostRange)
        case write(UInt64, HostRange)
        case flush
        case discard(UInt64, UInt64)
        case writeZeroes(UInt64, UInt64, Bool)
        case identify
    }

    let operation: Operation
    let continuation: CheckedContinuation<Result<String, DriverError>, Never>
}
