import Host
import VirtioDriver
import Virtqueue

/// Copies one disk to another, chunk by chunk, several at a time. What is zero is not written where the target can do it otherwise.
public struct DiskCopy {
    private let source: OpenDisk
    private let target: OpenDisk
    /// Shown to both.
    private let memory: SharedMemory
    private let canZero: Bool
    private let canFlush: Bool

    /// What was done.
    public struct Outcome: Sendable, Equatable {
        /// Bytes of the source.
        public var bytes: UInt64 = 0
        /// How many of them were zeros.
        public var zeros: UInt64 = 0
    }

    /// Prepares to copy all of `source` to the beginning of `target`.
    ///
    /// - Throws: `.usage` when it does not fit.
    public init(from source: OpenDisk, to target: OpenDisk) throws(VMError) {
        guard source.information.capacity <= target.information.capacity else {
            throw VMError(
                .usage,
                "\(target.name) has \(target.information.capacity) bytes, fewer than the \(source.information.capacity) of \(source.name).")
        }
        self.source = source
        self.target = target
        let memory = try source.makeBuffers()
        do throws(DriverError) { _ = try target.driver.transport.map(memory) } catch { throw target.failure(error) }
        self.memory = memory
        let features = target.driver.transport.features
        canZero = features.contains(.blkWriteZeroes) && target.information.zeroBytes >= UInt64(DiskPipeline.chunk)
        canFlush = features.contains(.blkFlush)
    }

    /// Copies; `report` hears how many bytes are done.
    public func run(report: (UInt64) -> Void = { _ in }) throws(VMError) -> Outcome {
        var queues = Queues(try taken(source), try taken(target))
        var outcome = Outcome()
        var asked: UInt64 = 0
        var free = Array(0..<DiskPipeline.depth)
        var offsets = Array(repeating: UInt64(0), count: DiskPipeline.depth)
        let end = source.information.capacity
        while outcome.bytes < end {
            do throws(DriverError) {
                while asked < end, let slot = free.popLast() {
                    try queues.source.read(at: asked, into: buffer(slot, at: asked), context: UInt64(slot))
                    offsets[slot] = asked
                    asked += UInt64(DiskPipeline.chunk)
                }
                queues.source.submit()
                // The target is waited for when it has something: what it finishes makes room for the source.
                if queues.target.inFlight == 0, try !queues.source.wait(milliseconds: BlockQueue.patience) { throw .timedOut }
            } catch {
                throw source.failure(error)
            }
            try forEachCompletion(&queues.source, source) { (slot) throws(VMError) in
                try write(offsets[slot], slot, &queues.target, &outcome)
            }
            do throws(DriverError) {
                queues.target.submit()
                if queues.target.inFlight > 0, try !queues.target.wait(milliseconds: BlockQueue.patience) { throw .timedOut }
            } catch {
                throw target.failure(error)
            }
            try forEachCompletion(&queues.target, target) { (slot) throws(VMError) in
                outcome.bytes += UInt64(buffer(slot, at: offsets[slot]).count)
                free.append(slot)
                report(outcome.bytes)
            }
        }
        if canFlush {
            do throws(DriverError) { try queues.target.flush() } catch { throw target.failure(error) }
        }
        return outcome
    }

    private struct Queues: ~Copyable {
        var source: BlockQueue
        var target: BlockQueue
        init(_ source: consuming BlockQueue, _ target: consuming BlockQueue) {
            self.source = source
            self.target = target
        }
    }

    private func taken(_ disk: OpenDisk) throws(VMError) -> BlockQueue {
        do throws(DriverError) { return try disk.driver.takeQueue() } catch { throw disk.failure(error) }
    }

    private func buffer(_ slot: Int, at offset: UInt64) -> HostRange {
        let count = min(UInt64(DiskPipeline.chunk), source.information.capacity - offset)
        return memory.range.slice(from: slot * DiskPipeline.chunk, count: Int(count))
    }

    private func write(_ offset: UInt64, _ slot: Int, _ queue: inout BlockQueue, _ outcome: inout Outcome) throws(VMError) {
        let data = buffer(slot, at: offset)
        do throws(DriverError) {
            if canZero, data.isZero {
                outcome.zeros += UInt64(data.count)
                try queue.writeZeroes(
                    at: offset, count: UInt64(data.count), unmap: target.information.zeroesMayUnmap, context: UInt64(slot))
            } else {
                try queue.write(at: offset, from: data, context: UInt64(slot))
            }
        } catch {
            throw target.failure(error)
        }
    }

    private func forEachCompletion(
        _ queue: inout BlockQueue, _ disk: OpenDisk, _ body: (Int) throws(VMError) -> Void
    ) throws(VMError) {
        while true {
            let slot: UInt64
            do throws(DriverError) {
                guard let completion = try queue.nextCompletion() else { return }
                guard completion.status == .ok else { throw .failed(completion.status) }
                slot = completion.context
            } catch {
                throw disk.failure(error)
            }
            guard slot < UInt64(DiskPipeline.depth) else { continue }
            try body(Int(slot))
        }
    }
}
