import Host
import Virtio
public import Virtqueue

/// One queue of a block device: requests are added, submitted together, and completed in any order. One thread has it at a time.
public struct BlockQueue: ~Copyable, Sendable {
    /// A request that has ended.
    public struct Completion: Sendable {
        /// The number that was given with the request.
        public let context: UInt64
        /// How it went.
        public let status: RequestStatus
        /// What GET_ID was answered with; empty for other requests.
        public var identity: String { request.identityText }
        private let request: BlockRequest

        init(_ completion: RequestQueue<BlockRequest>.Completion) {
            context = completion.context
            request = completion.request
            status = RequestStatus(completion.request.status)
        }
    }

    private var queue: RequestQueue<BlockRequest>
    private let features: Features
    /// What the device says of itself; `refresh` of the driver renews it for queues that are taken afterwards.
    public let information: BlockInformation

    init(_ queue: consuming RequestQueue<BlockRequest>, _ features: Features, _ information: BlockInformation) {
        self.queue = queue
        self.features = features
        self.information = information
    }

    /// Requests that have not completed.
    public var inFlight: Int { queue.inFlight }
    /// The number of descriptors.
    public var size: UInt16 { queue.size }

    // MARK: Requests

    /// Reads from `offset` (bytes, whole sectors) on into a buffer in memory that the transport was given.
    ///
    /// - Throws: `.unaligned`, `.beyondEnd`, `.tooLarge`, `.noData`, `.notMapped`; `.queueFull`, when completions must be taken first.
    public mutating func read(at offset: UInt64, into buffer: HostRange, context: UInt64) throws(DriverError) {
        try transfer(BlockRequest.Kind.read, offset, buffer, isRead: true, context)
    }

    /// Reads into several buffers, in order.
    public mutating func read(at offset: UInt64, into buffers: [HostRange], context: UInt64) throws(DriverError) {
        try transfer(BlockRequest.Kind.read, offset, buffers, isRead: true, context)
    }

    /// Writes a buffer in memory that the transport was given to `offset` (bytes, whole sectors).
    ///
    /// - Throws: as `read`, and `.readOnly`.
    public mutating func write(at offset: UInt64, from buffer: HostRange, context: UInt64) throws(DriverError) {
        try checkWritable()
        try transfer(BlockRequest.Kind.write, offset, buffer, isRead: false, context)
    }

    /// Writes several buffers, in order.
    public mutating func write(at offset: UInt64, from buffers: [HostRange], context: UInt64) throws(DriverError) {
        try checkWritable()
        try transfer(BlockRequest.Kind.write, offset, buffers, isRead: false, context)
    }

    /// What was written before and has completed reaches stable storage.
    ///
    /// - Throws: `.notNegotiated` without VIRTIO_BLK_F_FLUSH: then every write is stable when it completes.
    public mutating func flush(context: UInt64) throws(DriverError) {
        guard features.contains(.blkFlush) else { throw .notNegotiated("VIRTIO_BLK_F_FLUSH") }
        try queue.add(BlockRequest(BlockRequest.Kind.flush), context: context) { (chain) throws(DriverError) in
            try chain.appendReadable(place: BlockRequest.Part.header)
            try chain.appendWritable(place: BlockRequest.Part.status)
        }
    }

    /// The device may forget `count` bytes from `offset` on.
    public mutating func discard(at offset: UInt64, count: UInt64, context: UInt64) throws(DriverError) {
        guard features.contains(.blkDiscard) else { throw .notNegotiated("VIRTIO_BLK_F_DISCARD") }
        try change(BlockRequest.Kind.discard, offset, count, limit: information.discardBytes, flags: 0, context)
    }

    /// `count` bytes from `offset` on become zeros; `unmap`: they need no storage.
    public mutating func writeZeroes(at offset: UInt64, count: UInt64, unmap: Bool = false, context: UInt64) throws(DriverError) {
        guard features.contains(.blkWriteZeroes) else { throw .notNegotiated("VIRTIO_BLK_F_WRITE_ZEROES") }
        if unmap, !information.zeroesMayUnmap { throw .notNegotiated("write_zeroes_may_unmap") }
        try change(BlockRequest.Kind.writeZeroes, offset, count, limit: information.zeroBytes, flags: unmap ? 1 : 0, context)
    }

    /// Asks for the device's name (VIRTIO_BLK_T_GET_ID).
    public mutating func identify(context: UInt64) throws(DriverError) {
        try queue.add(BlockRequest(BlockRequest.Kind.identify), context: context) { (chain) throws(DriverError) in
            try chain.appendReadable(place: BlockRequest.Part.header)
            try chain.appendWritable(place: BlockRequest.Part.identity)
            try chain.appendWritable(place: BlockRequest.Part.status)
        }
    }

    // MARK: Completions

    /// Lets the device see what was added since the last time.
    public mutating func submit() { queue.submit() }

    /// Takes the next completion; nil when there is none now.
    public mutating func nextCompletion() throws(DriverError) -> Completion? {
        guard let completion = try queue.nextCompletion() else { return nil }
        return Completion(completion)
    }

    /// Waits until there is a completion to take, or better `count` of them; false when the time is up. See `RequestQueue.wait`.
    public mutating func wait(milliseconds: Int64, for count: Int = 1) throws(DriverError) -> Bool {
        try queue.wait(milliseconds: milliseconds, for: count)
    }

    /// The contexts of all requests in flight, which end without an answer. See `RequestQueue.abandon`.
    public mutating func abandon() -> [UInt64] { queue.abandon() }

    /// Readable when there may be a completion, for a poll set of the caller's own.
    public var completionDescriptor: Int32 { queue.completionDescriptor }

    /// Asks for a notification with the next completion; true when there is one already.
    public mutating func prepareToWait() -> Bool { queue.prepareToWait() }

    // MARK: What is allowed

    private func checkWritable() throws(DriverError) { if features.contains(.blkReadOnly) { throw .readOnly } }

    /// Whole sectors of the disk.
    private func check(_ offset: UInt64, _ count: UInt64) throws(DriverError) {
        guard count > 0 else { throw .noData }
        guard offset % BlockInformation.sector == 0 else { throw .unaligned(offset, to: BlockInformation.sector) }
        guard count % BlockInformation.sector == 0 else { throw .unaligned(count, to: BlockInformation.sector) }
        guard offset <= information.capacity, count <= information.capacity - offset else {
            throw .beyondEnd(offset: offset, count: count, capacity: information.capacity)
        }
    }

    /// Whether a buffer of so many bytes, in pieces of the size that the device takes, is no more pieces than it takes.
    private func checkPieces(_ count: Int) throws(DriverError) {
        guard let limit = information.segmentBytes, limit > 0 else { return }
        let pieces = (UInt64(count) + UInt64(limit) - 1) / UInt64(limit)
        if let most = information.segments, pieces > UInt64(most) { throw .tooLarge(UInt64(count), limit: UInt64(most) * UInt64(limit)) }
    }

    private mutating func transfer(
        _ kind: UInt32, _ offset: UInt64, _ buffer: HostRange, isRead: Bool, _ context: UInt64
    ) throws(DriverError) {
        try check(offset, UInt64(buffer.count))
        try checkPieces(buffer.count)
        let limit = information.segmentBytes
        try queue.add(BlockRequest(kind, sector: offset / BlockInformation.sector), context: context) { (chain) throws(DriverError) in
            try chain.appendReadable(place: BlockRequest.Part.header)
            try chain.append(buffer, inPiecesOf: limit, isWritable: isRead)
            try chain.appendWritable(place: BlockRequest.Part.status)
        }
    }

    private mutating func transfer(
        _ kind: UInt32, _ offset: UInt64, _ buffers: [HostRange], isRead: Bool, _ context: UInt64
    ) throws(DriverError) {
        var bytes: UInt64 = 0
        var pieces: UInt64 = 0
        for buffer in buffers {
            bytes += UInt64(buffer.count)
            pieces += information.segmentBytes.map { (UInt64(buffer.count) + UInt64($0) - 1) / UInt64(max($0, 1)) } ?? 1
        }
        try check(offset, bytes)
        if let most = information.segments, pieces > UInt64(most) { throw .tooLarge(pieces, limit: UInt64(most)) }
        let limit = information.segmentBytes
        try queue.add(BlockRequest(kind, sector: offset / BlockInformation.sector), context: context) { (chain) throws(DriverError) in
            try chain.appendReadable(place: BlockRequest.Part.header)
            for buffer in buffers { try chain.append(buffer, inPiecesOf: limit, isWritable: isRead) }
            try chain.appendWritable(place: BlockRequest.Part.status)
        }
    }

    private mutating func change(
        _ kind: UInt32, _ offset: UInt64, _ count: UInt64, limit: UInt64, flags: UInt32, _ context: UInt64
    ) throws(DriverError) {
        try checkWritable()
        try check(offset, count)
        guard count <= limit, let sectors = UInt32(exactly: count / BlockInformation.sector) else { throw .tooLarge(count, limit: limit) }
        var request = BlockRequest(kind)
        request.rangeSector = offset / BlockInformation.sector
        request.rangeSectors = sectors
        request.rangeFlags = flags
        try queue.add(request, context: context) { (chain) throws(DriverError) in
            try chain.appendReadable(place: BlockRequest.Part.header)
            try chain.appendReadable(place: BlockRequest.Part.range)
            try chain.appendWritable(place: BlockRequest.Part.status)
        }
    }
}

extension RequestChain {
    /// A buffer, in pieces of at most so many bytes.
    mutating func append(_ buffer: HostRange, inPiecesOf limit: UInt32?, isWritable: Bool) throws(DriverError) {
        guard let limit, Int(limit) < buffer.count, limit > 0 else { return try append(buffer, isWritable: isWritable) }
        var offset = 0
        while offset < buffer.count {
            try append(buffer.slice(from: offset, count: Int(limit)), isWritable: isWritable)
            offset += Int(limit)
        }
    }
}
