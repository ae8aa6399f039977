import CURing
import Glibc
public import Virtqueue

/// An io_uring(7): operations on files are queued, submitted together, and reported when they are done, in any order.
///
/// For one thread at a time. What is queued carries a token of the caller's choice, which comes back with the result. A ring is made while
/// the process may still make one, before its jail closes.
@safe public struct IOURing: ~Copyable {
    /// The operations that a ring can be asked for.
    public enum Operation: Sendable, CaseIterable {
        /// preadv(2), or read(2) at an offset.
        case read
        /// pwritev(2), or write(2) at an offset.
        case write
        /// fdatasync(2).
        case synchronizeData
        /// fallocate(2).
        case allocate
    }

    /// liburing's view of the ring; on the heap, because it is given away by address.
    private let ring: UnsafeMutablePointer<io_uring>
    /// The number of operations that can be queued between two submissions.
    public let entries: Int

    /// A ring with room for `entries` operations (rounded up to a power of two, at most 32768).
    ///
    /// With `operations` the ring is restricted for ever to those (IORING_REGISTER_RESTRICTIONS). `witness` is a descriptor whose file the ring
    /// holds open until nothing that was submitted to it is under way any more, also when its process ends before that.
    /// - Throws: ENOSYS or EPERM when the kernel has no io_uring, or too old a one, or forbids it.
    public init(entries: Int, restrictedTo operations: [Operation]? = nil, witness: Int32? = nil) throws(SystemError) {
        guard let count = UInt32(exactly: entries), count > 0 else { throw SystemError("io_uring_setup", .invalidArgument) }
        let made = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
        unsafe made.initialize(to: io_uring())
        let result = unsafe swv_uring_make(made, count, operations == nil ? 0 : 1)
        guard result == 0 else {
            unsafe made.deallocate()
            throw SystemError("io_uring_setup", Errno(rawValue: -result))
        }
        if let witness {
            let held = unsafe swv_uring_hold(made, witness)
            guard held == 0 else {
                unsafe io_uring_queue_exit(made)
                unsafe made.deallocate()
                throw SystemError("io_uring_register", Errno(rawValue: -held))
            }
        }
        if let operations {
            let codes = Self.codes(of: operations)
            let restricted = unsafe swv_uring_restrict(made, codes, UInt32(codes.count))
            guard restricted == 0 else {
                unsafe io_uring_queue_exit(made)
                unsafe made.deallocate()
                throw SystemError("io_uring_register", Errno(rawValue: -restricted))
            }
        }
        unsafe ring = made
        self.entries = unsafe Int(made.pointee.sq.ring_entries)
    }

    deinit {
        unsafe io_uring_queue_exit(ring)
        unsafe ring.deallocate()
    }

    /// Whether this process can make a ring. Makes one and drops it.
    public static var isAvailable: Bool {
        do {
            _ = try IOURing(entries: 2)
            return true
        } catch {
            return false
        }
    }

    private static func codes(of operations: [Operation]) -> [Int32] {
        operations.flatMap { operation -> [io_uring_op] in
            switch operation {
            case .read: [IORING_OP_READV, IORING_OP_READ]
            case .write: [IORING_OP_WRITEV, IORING_OP_WRITE]
            case .synchronizeData: [IORING_OP_FSYNC]
            case .allocate: [IORING_OP_FALLOCATE]
            }
        }.map { Int32(truncatingIfNeeded: $0.rawValue) }
    }

    /// The ring's descriptor, readable while there are completions: for a `Poller`.
    public var rawDescriptor: Int32 { unsafe ring.pointee.ring_fd }

    /// Queues a read at `offset` into `ranges`, in order. Their array is read at submission and may go then; the memory that they describe
    /// must stay until the completion. `onWorker`: a thread of the kernel does it, beside ours and others, which pays for much data that are
    /// in memory. False when the queue is full.
    public mutating func read(
        _ descriptor: Int32, into ranges: Span<HostRange>, at offset: UInt64, onWorker: Bool = false, token: UInt64
    ) -> Bool {
        vectored(IORING_OP_READ, IORING_OP_READV, descriptor, ranges, offset, onWorker, token)
    }

    /// Queues a write at `offset` from `ranges`, in order; as `read`.
    public mutating func write(_ descriptor: Int32, from ranges: Span<HostRange>, at offset: UInt64, token: UInt64) -> Bool {
        vectored(IORING_OP_WRITE, IORING_OP_WRITEV, descriptor, ranges, offset, false, token)
    }

    private mutating func vectored(
        _ plain: io_uring_op, _ vector: io_uring_op, _ descriptor: Int32, _ ranges: Span<HostRange>, _ offset: UInt64, _ onWorker: Bool,
        _ token: UInt64
    ) -> Bool {
        let worker: Int32 = onWorker ? 1 : 0
        if ranges.count == 1 {
            // One buffer needs no array, which spares the kernel an import.
            let range = ranges[0]
            let length = UInt32(clamping: range.count)
            return unsafe swv_uring_queue(ring, Int32(plain.rawValue), descriptor, range.base, length, offset, 0, worker, token) != 0
        }
        // The kernel takes at most IOV_MAX ranges; the caller sees a short transfer, as it may for other reasons.
        let count = UInt32(min(ranges.count, 1024))
        return unsafe ranges.withUnsafeBytes { bytes in
            unsafe swv_uring_queue(ring, Int32(vector.rawValue), descriptor, bytes.baseAddress, count, offset, 0, worker, token) != 0
        }
    }

    /// Queues fdatasync(2). False when the queue is full.
    public mutating func synchronizeData(_ descriptor: Int32, token: UInt64) -> Bool {
        unsafe swv_uring_queue(ring, Int32(IORING_OP_FSYNC.rawValue), descriptor, nil, 0, 0, UInt32(IORING_FSYNC_DATASYNC), 0, token) != 0
    }

    /// Queues fallocate(2) in one of its modes. False when the queue is full.
    public mutating func allocate(
        _ descriptor: Int32, _ mode: AllocationMode, at offset: UInt64, count: UInt64, token: UInt64
    ) -> Bool {
        unsafe swv_uring_queue_fallocate(ring, descriptor, mode.flags, offset, count, token) != 0
    }

    /// Submits what is queued, and waits until at least `minimum` completions are there.
    /// - Throws: EAGAIN or EBUSY when the kernel is short of memory or wants completions taken first. What it did not take stays queued: take
    ///   completions, or wait for some (`waitForCompletion`), and submit again. Any other error stays.
    public mutating func submit(waitingFor minimum: Int = 0) throws(SystemError) {
        var wanted = UInt32(clamping: minimum)
        while unsafe wanted > 0 || io_uring_sq_ready(ring) > 0 {
            let result = unsafe wanted > 0 ? io_uring_submit_and_wait(ring, wanted) : io_uring_submit(ring)
            // An entry that the kernel refuses ends a submission early, and an interruption leaves what was queued: once more.
            guard result >= 0 || result == -EINTR else { throw SystemError("io_uring_enter", Errno(rawValue: -result)) }
            if result >= 0 { wanted = 0 }
        }
    }

    /// Waits until there is a completion to take, for at most `milliseconds`. Asks the kernel for nothing that it could be short of.
    public borrowing func waitForCompletion(atMost milliseconds: Int32) {
        var entry = pollfd(fd: rawDescriptor, events: Int16(POLLIN), revents: 0)
        _ = unsafe poll(&entry, 1, milliseconds)
    }

    /// Whether there is a completion to take: a look at memory that the kernel shares. What it keeps back when the completion queue is full is
    /// told of by the descriptor.
    public var hasCompletion: Bool { unsafe io_uring_cq_ready(ring) > 0 }

    /// The next completion, with its token and its result: a count, or a negative error number. Nil when there is none.
    public mutating func nextCompletion() -> (token: UInt64, result: Int32)? {
        var token: UInt64 = 0
        var result: Int32 = 0
        if unsafe swv_uring_take(ring, &token, &result) != 0 { return (token, result) }
        // The kernel keeps back what found the completion queue full; it has to be asked for it.
        guard unsafe swv_uring_overflown(ring) != 0, unsafe io_uring_get_events(ring) >= 0 else { return nil }
        return unsafe swv_uring_take(ring, &token, &result) != 0 ? (token, result) : nil
    }
}

// Sendable: it owns the ring alone; methods that change it are mutating.
extension IOURing: @unchecked Sendable {}
