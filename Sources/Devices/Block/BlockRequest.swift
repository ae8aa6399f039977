import Host
import Synchronization
import Virtio
import Virtqueue

/// One request of the driver, from its header to its status byte: which steps it takes, and what their results mean (virtio 1.3, 5.2.6).
///
/// It does no I/O itself: `begin` or `next` says what is to be done, the engine does it, `finish` judges the result.
struct BlockRequest {
    /// What a chain turned out to be.
    enum Beginning {
        /// A request that needs its `next` step done.
        case run
        /// A request that is finished already.
        case done(BlockStatus)
        /// No request: there is nowhere to write a status, so the driver cannot be told but by DEVICE_NEEDS_RESET.
        case broken
    }

    /// What the driver asked for.
    enum Kind {
        case read, write, flush, identity, discard, writeZeroes
    }

    private struct Range {
        var offset: UInt64 = 0
        var count: UInt64 = 0
        var unmap = false
    }

    /// How a range is made to read as zeros, the best way first.
    private enum Method {
        case punchHole, zeroRange, write
    }

    /// What it is, once `begin` has looked at it; says nothing when that failed.
    private(set) var kind = Kind.flush
    /// How much data a read or a write is about.
    private(set) var byteCount: UInt64 = 0
    private var position: UInt64 = 0
    private var status: HostRange?
    private var ranges = InlineArray<16, Range>(repeating: Range())
    private var rangeCount = 0
    private var rangeIndex = 0
    private var method = Method.punchHole
    private var isSynchronizing = false
    private var retries = 0

    /// Looks at a chain that was just popped.
    mutating func begin(_ chain: inout ChainBuffer, _ backend: BlockBackend, features: Features) -> Beginning {
        self = BlockRequest()
        guard let status = chain.takeWritableTail(1) else { return .broken }
        self.status = status
        guard let type = chain.readInteger(as: UInt32.self), chain.readInteger(as: UInt32.self) != nil,
            let sector = chain.readInteger(as: UInt64.self)
        else { return .done(.ioError) }
        switch type {
        case 0:
            kind = .read
            return beginTransfer(sector: sector, bytes: chain.writableBytes, backend)
        case 1:
            kind = .write
            // A read-only device answers every write like this (5.2.6.2).
            if backend.readOnly { return .done(.ioError) }
            return beginTransfer(sector: sector, bytes: chain.readableBytes, backend)
        case 4:
            kind = .flush
            isSynchronizing = true
            return .run
        case 8:
            kind = .identity
            // The driver must give 20 bytes for the ID (5.2.6.1).
            guard chain.writableBytes >= BlockLimits.identity else { return .done(.ioError) }
            let identity = backend.identity
            chain.write(identity.span.untyped)
            return .done(.ok)
        case 11 where features.contains(.blockDiscard):
            kind = .discard
            return beginRanges(&chain, backend, mostSectors: BlockLimits.discardSectors)
        case 13 where features.contains(.blockWriteZeroes):
            kind = .writeZeroes
            return beginRanges(&chain, backend, mostSectors: BlockLimits.writeZeroesSectors)
        default:
            return .done(.unsupported)
        }
    }

    private mutating func beginTransfer(sector: UInt64, bytes: Int, _ backend: BlockBackend) -> Beginning {
        let count = UInt64(clamping: bytes)
        guard count % BlockLimits.sector == 0, let offset = Self.offset(of: sector, count: count / BlockLimits.sector, backend) else {
            return .done(.ioError)
        }
        position = offset
        byteCount = count
        return count == 0 ? .done(.ok) : .run
    }

    private mutating func beginRanges(_ chain: inout ChainBuffer, _ backend: BlockBackend, mostSectors: UInt32) -> Beginning {
        let bytes = chain.readableBytes
        guard bytes > 0, bytes % 16 == 0, bytes / 16 <= ranges.count else { return .done(.ioError) }
        var outside = false
        for index in 0..<bytes / 16 {
            guard let sector = chain.readInteger(as: UInt64.self), let sectors = chain.readInteger(as: UInt32.self),
                let flags = chain.readInteger(as: UInt32.self)
            else { return .done(.ioError) }
            // Unknown flags, and unmap in a discard, are unsupported whatever else the request says (5.2.6.2).
            guard flags & ~1 == 0, flags == 0 || kind == .writeZeroes else { return .done(.unsupported) }
            guard sectors <= mostSectors, let offset = Self.offset(of: sector, count: UInt64(sectors), backend) else {
                outside = true
                continue
            }
            ranges[index] = Range(offset: offset, count: UInt64(sectors) * BlockLimits.sector, unmap: flags & 1 != 0)
        }
        if outside { return .done(.ioError) }
        rangeCount = bytes / 16
        rangeIndex = -1
        guard nextRange() else { return .done(.ok) }
        return .run
    }

    /// The byte offset of `count` sectors, if all of them lie on the disk.
    private static func offset(of sector: UInt64, count: UInt64, _ backend: BlockBackend) -> UInt64? {
        let capacity = backend.capacity.load(ordering: .relaxed)
        guard sector <= capacity, count <= capacity - sector else { return nil }
        // The capacity in bytes fits into 64 bits, so everything below it does.
        return sector &* BlockLimits.sector
    }

    /// Moves to the next range that is not empty; false when there is none.
    private mutating func nextRange() -> Bool {
        rangeIndex += 1
        while rangeIndex < rangeCount, ranges[rangeIndex].count == 0 { rangeIndex += 1 }
        guard rangeIndex < rangeCount else { return false }
        method = kind == .discard || ranges[rangeIndex].unmap ? .punchHole : .zeroRange
        return true
    }

    /// What is to be done next, after `begin` said `.run` or `finish` said nil.
    func next(_ backend: BlockBackend) -> BlockOperation {
        if isSynchronizing { return .synchronize }
        switch kind {
        case .read: return .read(at: position)
        case .write: return .write(at: position)
        case .flush, .identity: return .synchronize
        case .discard, .writeZeroes:
            let range = ranges[rangeIndex]
            if kind == .discard, backend.isBlockDevice { return .discardBlocks(at: range.offset, count: range.count) }
            return switch method {
            case .punchHole: .allocate(.punchHole, at: range.offset, count: range.count)
            case .zeroRange: .allocate(.zeroRange, at: range.offset, count: range.count)
            case .write: .writeZeros(at: range.offset, count: range.count)
            }
        }
    }

    /// Judges the result of the step, a count or a negative error number; nil when there is another step to do.
    mutating func finish(_ result: Int32, _ chain: inout ChainBuffer, _ backend: BlockBackend) -> BlockStatus? {
        if result < 0 { return failed(Errno(rawValue: 0 &- result)) }
        retries = 0
        if isSynchronizing { return .ok }
        switch kind {
        case .read:
            // Nothing to read although it lies within the capacity: somebody has cut the image short.
            guard result > 0 else { return .ioError }
            position &+= UInt64(chain.skipWritable(Int(result)))
            return chain.writableBytes > 0 ? nil : .ok
        case .write:
            guard result > 0 else { return .ioError }
            position &+= UInt64(chain.skipReadable(Int(result)))
            return chain.readableBytes > 0 ? nil : stable(backend)
        case .flush, .identity:
            return .ok
        case .discard, .writeZeroes:
            if method == .write {
                guard result > 0 else { return .ioError }
                let done = min(UInt64(result), ranges[rangeIndex].count)
                ranges[rangeIndex].offset &+= done
                ranges[rangeIndex].count -= done
                if ranges[rangeIndex].count > 0 { return nil }
            }
            return nextRange() ? nil : stable(backend)
        }
    }

    /// In writethrough mode a write is stable when it completes (5.2.6.2), so fdatasync comes first.
    private mutating func stable(_ backend: BlockBackend) -> BlockStatus? {
        if backend.writeback.load(ordering: .relaxed) { return .ok }
        isSynchronizing = true
        return nil
    }

    private mutating func failed(_ error: Errno) -> BlockStatus? {
        if error == .interrupted || error == .wouldBlock {
            // Nothing was done; but not for ever.
            retries += 1
            return retries > 16 ? .ioError : nil
        }
        guard kind == .discard || kind == .writeZeroes, !isSynchronizing, method != .write else { return .ioError }
        // EINVAL: a block device wants whole blocks of its own. ENODEV: not for this kind of file.
        guard error == .notSupported || error == .notImplemented || error == .invalidArgument || error == .noDevice else { return .ioError }
        if kind == .discard { return .unsupported }
        method = method == .punchHole ? .zeroRange : .write
        return nil
    }

    /// Writes the status and returns how many bytes of the chain were written: all of it, with zeros where the request left a gap, because
    /// the status stands at the end and the count must cover it (virtio 1.3, 2.7.8.2).
    func end(_ result: BlockStatus, _ chain: inout ChainBuffer) -> UInt32 {
        Self.clear(chain.writable)
        let count = chain.writableBytes
        chain.skipWritable(count)
        status?.store(result.rawValue, at: 0)
        return chain.written &+ 1
    }

    private static func clear(_ ranges: Span<HostRange>) {
        for index in ranges.indices { ranges[index].fill(0) }
    }
}
