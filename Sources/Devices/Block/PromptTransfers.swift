import Host
import Virtqueue

/// Does at once, with a system call of its own, what need not wait for storage: transfers that the page cache can serve, and everything on a
/// file that lies in memory. What is left goes to the ring, where it costs a wake-up of another thread.
///
/// A write that is done like this is in the page cache, as one by the ring is, so a flush that is asked for later finds it there.
struct PromptTransfers: Sendable {
    /// Longer reads take longer than a wake-up: the ring's workers do several of them at a time.
    static let mostRead = 64 << 10
    /// Writes to a file come one after the other wherever they are done; but a very long one must not hold up what comes after it.
    static let mostWritten = 1 << 20

    private var reads = Attempts()
    private var writes = Attempts()

    /// The result of a step, a count or a negative error number; nil when it has to wait, or is not of this kind. Then nothing was done.
    mutating func perform(_ operation: BlockOperation, _ chain: borrowing ChainBuffer, _ backend: BlockBackend) -> Int32? {
        switch operation {
        case .read(let offset):
            // Past the page cache everything waits.
            guard chain.writableBytes <= Self.mostRead, !backend.goesDirect(chain.writable, at: offset) else { return nil }
            if backend.isInMemory { return SynchronousBlockEngine.perform(operation, chain, backend) }
            guard reads.isDue() else { return nil }
            return reads.judge(backend.image.readPromptly(into: chain.writable, at: offset))
        case .write(let offset):
            guard chain.readableBytes <= Self.mostWritten, !backend.goesDirect(chain.readable, at: offset) else { return nil }
            if backend.isInMemory { return SynchronousBlockEngine.perform(operation, chain, backend) }
            guard writes.isDue() else { return nil }
            return writes.judge(backend.image.writePromptly(from: chain.readable, at: offset))
        case .synchronize:
            // Of a file in memory there is nothing to bring anywhere.
            return backend.isInMemory ? SynchronousBlockEngine.perform(operation, chain, backend) : nil
        case .writeZeros, .allocate, .discardBlocks:
            return nil
        }
    }

    /// Whether transfers in one direction are tried: after some that would have waited, the next ones probably would as well.
    private struct Attempts {
        private var isFutile = false
        private var misses = 0
        private var skipped = 0

        mutating func isDue() -> Bool {
            if isFutile { return false }
            guard skipped > 0 else { return true }
            skipped -= 1
            return false
        }

        /// What has come of a try; nil when the ring has to do it.
        mutating func judge(_ result: Int) -> Int32? {
            if result > 0 {
                misses = 0
                return Int32(clamping: result)
            }
            // Some file systems cannot tell. Whatever else is wrong, the ring finds it as well.
            isFutile = result == -Int(Errno.notSupported.rawValue) || result == -Int(Errno.notImplemented.rawValue)
            misses = min(misses + 1, 5)
            skipped = 1 << misses - 1
            return nil
        }
    }
}
