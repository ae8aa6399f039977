internal import CAtomics

/// Notes which chains of a queue the device holds, in memory that outlives the device's process (vhost-user, Inflight I/O tracking).
///
/// When that process ends in the middle of its work, the next one makes the queue anew with the same log: chains that were popped and not
/// published come again, oldest first, and all others exactly once. Nothing that stands in the log is trusted: a log that was tampered with
/// makes chains come again that the driver has in its ring, and none that it has not.
///
/// The layout for split queues is the protocol's. For packed ones, whose descriptors the device overwrites, the log has copies of them in the
/// protocol's structure; how its free entries and its last batch are kept is ours (Docs/vhost-user.md).
@safe
public struct InFlightLog: ~Copyable {
    @usableFromInline let base: UnsafeMutableRawPointer
    @usableFromInline let size: UInt16
    @usableFromInline let isPacked: Bool
    /// What keeps `base` mapped.
    private let owner: AnyObject?
    /// Four numbers for each entry, in memory of our own, where nobody else can change them: see `Own`.
    let own: UnsafeMutablePointer<UInt16>
    /// The number that the next chain gets: they come again in this order.
    var counter: UInt64 = 1
    /// Chains that were completed and are not published yet.
    var batchCount = 0
    /// Chains that come again, and how many of them have come.
    @usableFromInline var againCount = 0
    @usableFromInline var againNext = 0
    /// Packed: the first free entry; `size` when there is none.
    var firstFree: UInt16 = 0

    /// Where the parts of `own` begin, in sizes of the queue.
    enum Own {
        /// Keys of the chains that wait for publication.
        static let batch = 0
        /// Keys of the chains that come again.
        static let again = 1
        /// Packed: the entry after this one, of the chain or of the free ones.
        static let link = 2
        /// Packed: how many entries the chain has that begins here.
        static let count = 3
        static let parts = 4
    }

    /// Offsets in bytes of what stands before the entries, in both formats.
    enum Header {
        static let version = 8
        static let size = 10
        /// The chain that was completed last; each leads to the one before it.
        static let lastBatchHead = 12
        /// Split: the used index as of the last publication.
        static let usedIndex = 14
        /// Packed: where the device writes next as of the last publication, how many chains it has completed since, and the wrap
        /// counter: one word, so that they change at once.
        static let usedWord = 16
    }

    /// Offsets in bytes within an entry.
    enum Entry {
        static let inFlight = 0
        static let counter = 8
        /// Split: the link of the batch. Packed: the next entry of the chain.
        static let splitNext = 6
        static let packedNext = 2
        /// Packed: the link of the batch.
        static let packedBatch = 4
        static let count = 6
        static let id = 16
        static let flags = 18
        static let length = 20
        static let address = 24
    }

    static let currentVersion: UInt16 = 1

    /// Bytes of the log of a queue with `size` entries. Logs of several queues are laid out at multiples of it.
    public static func byteCount(_ format: RingFormat, size: UInt16) -> Int {
        let bytes = format == .packed ? 32 + 32 * Int(size) : 16 + 16 * Int(size)
        return (bytes + 63) & ~63
    }

    /// The log of a queue with `size` entries in `range`, which is mapped for as long as `owner` lives; nil when it is too small or not
    /// aligned to 8 bytes.
    public init?(_ range: HostRange, owner: AnyObject?, format: RingFormat, size: UInt16) {
        guard size > 0, range.count >= Self.byteCount(format, size: size), unsafe Int(bitPattern: range.base) % 8 == 0 else { return nil }
        unsafe base = range.base
        self.size = size
        isPacked = format == .packed
        self.owner = owner
        unsafe own = UnsafeMutablePointer<UInt16>.allocate(capacity: Own.parts * Int(size))
        unsafe own.initialize(repeating: 0, count: Own.parts * Int(size))
    }

    deinit { unsafe own.deallocate() }

    // MARK: Access

    /// An entry; `key` is below the size.
    func entry(_ key: UInt16) -> UnsafeMutableRawPointer {
        unsafe base + (isPacked ? 32 + 32 * Int(key) : 16 + 16 * Int(key))
    }

    func owned(_ part: Int, _ index: Int) -> UInt16 { unsafe own[part * Int(size) + index] }
    func setOwned(_ part: Int, _ index: Int, _ value: UInt16) { unsafe own[part * Int(size) + index] = value }

    func isMarked(_ key: UInt16) -> Bool { unsafe swv_load_acquire_u8(entry(key) + Entry.inFlight) != 0 }

    /// What is said of the chain before has to be seen by whoever sees the mark.
    mutating func mark(_ key: UInt16) {
        unsafe swv_store_u64(entry(key) + Entry.counter, counter)
        counter &+= 1
        unsafe swv_store_release_u8(entry(key) + Entry.inFlight, 1)
    }

    func unmark(_ key: UInt16) { unsafe swv_store_release_u8(entry(key) + Entry.inFlight, 0) }

    // MARK: A chain's way

    /// A split queue's chain was popped.
    @usableFromInline
    mutating func begin(split head: UInt16) -> UInt16 {
        mark(head)
        return head
    }

    /// A chain was completed; the driver does not know yet.
    @usableFromInline
    mutating func complete(_ key: UInt16) {
        guard key < size, batchCount < Int(size) else { return }
        setOwned(Own.batch, batchCount, key)
        batchCount += 1
        let link = unsafe entry(key) + (isPacked ? Entry.packedBatch : Entry.splitNext)
        unsafe swv_store_u16(link, swv_load_u16(base + Header.lastBatchHead))
        unsafe swv_store_release_u16(base + Header.lastBatchHead, key)
        if isPacked { noteBatch() }
    }

    /// The completed chains were published, up to `used`.
    @usableFromInline
    mutating func publish(_ used: RingCursor) {
        for index in 0..<batchCount {
            let key = owned(Own.batch, index)
            unmark(key)
            if isPacked { free(key) }
        }
        batchCount = 0
        if isPacked {
            setUsed(used)
        } else {
            unsafe swv_store_release_u16(base + Header.usedIndex, used.index)
        }
    }

    /// A popped chain was given back to the queue.
    @usableFromInline
    mutating func undo(_ key: UInt16) {
        guard key < size else { return }
        unmark(key)
        if isPacked { free(key) }
    }

    // MARK: Chains that come again

    /// Whether there are some.
    @usableFromInline var hasAgain: Bool { againNext < againCount }

    /// The next one.
    @usableFromInline
    mutating func takeAgain() -> UInt16 {
        defer { againNext += 1 }
        return owned(Own.again, againNext)
    }

    /// Gives back the one that was taken last; whether it was that.
    @usableFromInline
    mutating func returnAgain(_ key: UInt16) -> Bool {
        guard againNext > 0, owned(Own.again, againNext - 1) == key else { return false }
        againNext -= 1
        return true
    }

    /// The queue was stopped in good order: nothing that stands here has a meaning any more.
    mutating func retire() {
        for key in 0..<size where isMarked(key) { unmark(key) }
        if isPacked { unsafe swv_store_release_u64(base + Header.usedWord, 0) }
    }
}

// Sendable: it is the only owner of its own memory, and the pointer into the shared log leads to bytes that are only accessed atomically.
extension InFlightLog: @unchecked Sendable {}
