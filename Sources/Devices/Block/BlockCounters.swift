import Virtio

/// What one worker of a block device has done. Every answered request counts once (but for the device ID, which is no I/O).
final class BlockCounters: CounterBlock {
    let reads = Counter()
    let writes = Counter()
    let flushes = Counter()
    let discards = Counter()
    let writeZeroes = Counter()
    let bytesRead = Counter()
    let bytesWritten = Counter()
    let errors = Counter()
    let padding = CounterPadding()

    var values: [String: UInt64] {
        [
            "reads": reads.value, "writes": writes.value, "flushes": flushes.value, "discards": discards.value,
            "writeZeroes": writeZeroes.value, "bytesRead": bytesRead.value, "bytesWritten": bytesWritten.value, "errors": errors.value,
        ]
    }

    /// Counts a request that is about to be answered; `bytes` is the data of a read or a write.
    func count(_ kind: BlockRequest.Kind, bytes: UInt64, _ status: BlockStatus) {
        guard status == .ok else { return errors.add() }
        switch kind {
        case .read:
            reads.add()
            bytesRead.add(bytes)
        case .write:
            writes.add()
            bytesWritten.add(bytes)
        case .flush: flushes.add()
        case .discard: discards.add()
        case .writeZeroes: writeZeroes.add()
        case .identity: break
        }
    }
}

extension BlockDevice {
    /// Requests, bytes and errors of all queues; Docs/devices.md explains each name.
    public var counters: [String: UInt64] { counterBlocks.total }
}
