import Host
import Virtio
import VirtioDriver
import Virtqueue

/// One back-end, driven as programs of the host drive one: `swvmm blk` has the same queue. It waits in the kernel and never polls.
final class Disk {
    let subject: Subject
    private let memory: SharedMemory
    private let queue: Slot<BlockQueue>
    private let blocks: Int
    private var random = SeededGenerator(seed: 1)
    private var position = 0

    private static let queueSize: UInt16 = 128

    init(_ subject: Subject) throws(StorageError) {
        self.subject = subject
        do {
            let transport = try VhostUserTransport(try UnixSocket.connect(to: subject.socket), wanted: BlockDriver.features)
            let driver = try BlockDriver(transport, queueSize: Self.queueSize)
            memory = try driver.makeMemory(byteCount: Load.mostBytes)
            queue = Slot(try driver.takeQueue())
            blocks = Int(clamping: try driver.information().capacity) / 4096
        } catch {
            throw StorageError("\(subject.name): \(error)")
        }
        // Data that are not all the same, in pages that are there.
        for place in stride(from: 0, to: memory.count, by: 8) { memory.range.store(random.next(), at: place) }
        guard blocks * 4096 >= Load.mostBytes else { throw StorageError("\(subject.name): its disk is too small") }
    }

    /// Keeps `depth` requests with the back-end for a while, and then waits for the last of them.
    func run(_ load: Load, milliseconds: Int) throws(StorageError) -> Sample {
        guard var queue = queue.take() else { throw StorageError("\(subject.name): its queue is in use") }
        do {
            let sample = try run(load, &queue, milliseconds)
            self.queue.put(queue)
            return sample
        } catch {
            throw StorageError("\(subject.name), \(load.name): \((error as? StorageError)?.message ?? "\(error)")")
        }
    }

    private func run(_ load: Load, _ queue: inout BlockQueue, _ milliseconds: Int) throws -> Sample {
        let before = try subject.processorTime()
        let clock = SuspendingClock()
        let start = clock.now
        let end = start + .milliseconds(milliseconds)
        var requests = 0
        for slot in 0..<load.depth { try request(load, slot, &queue) }
        queue.submit()
        while queue.inFlight > 0 {
            guard try queue.wait(milliseconds: BlockQueue.patience, for: load.batch) else { throw StorageError("no answer") }
            let goesOn = clock.now < end
            while let completion = try queue.nextCompletion() {
                guard completion.status == .ok else { throw StorageError("a request failed: \(completion.status)") }
                requests += 1
                if goesOn { try request(load, Int(completion.context), &queue) }
            }
            queue.submit()
        }
        let (seconds, attoseconds) = (clock.now - start).components
        return Sample(
            requests: requests, nanoseconds: UInt64(seconds * 1_000_000_000 + attoseconds / 1_000_000_000),
            processorNanoseconds: try subject.processorTime() - before)
    }

    /// Makes one request available, which the back-end does not see yet.
    private func request(_ load: Load, _ slot: Int, _ queue: inout BlockQueue) throws(DriverError) {
        let buffer = memory.range.slice(from: slot * load.bytes, count: load.bytes)
        let offset = UInt64(nextBlock(load)) * 4096
        if load.isWrite {
            try queue.write(at: offset, from: buffer, context: UInt64(slot))
        } else {
            try queue.read(at: offset, into: buffer, context: UInt64(slot))
        }
    }

    /// Where the next request begins, in blocks of 4 KiB.
    private func nextBlock(_ load: Load) -> Int {
        let length = load.bytes / 4096
        guard load.isSequential else { return Int.random(in: 0...blocks - length, using: &random) }
        if position + length > blocks { position = 0 }
        defer { position += length }
        return position
    }
}
