import Host
import TestSupport
import Virtqueue

public import VirtioDriver

/// Reads and writes of blocks at random, each of which is compared with what was written there last. Blocks that are being written are left alone.
public struct Workload {
    private var random: SeededRandom
    private let blocks: Int
    private let first: Int
    private var contents: [UInt64]
    private var isBusy: [Bool]

    /// `blocks` blocks of 4 KiB, the first of which is `first`.
    public init(seed: UInt64, blocks: Int, from first: Int = 0) {
        random = SeededRandom(seed: seed)
        self.blocks = blocks
        self.first = first
        contents = Array(repeating: 0, count: blocks)
        isBusy = Array(repeating: false, count: blocks)
    }

    private struct Job {
        var block = 0
        var count = 0
        var isWrite = false
    }

    /// So many operations, as many at a time as there are places for in `memory`.
    public mutating func run(_ queue: inout BlockQueue, _ memory: SharedMemory, operations: Int) throws {
        let placeSize = 8 * 4096
        var free = Array(0..<memory.count / placeSize)
        var jobs = Array(repeating: Job(), count: free.count)
        var left = operations
        while left > 0 || queue.inFlight > 0 {
            while left > 0, let place = free.last {
                var job = Job(block: random.below(blocks), count: 1 + random.below(8), isWrite: random.oneIn(2))
                job.count = min(job.count, blocks - job.block)
                guard !isBusy[job.block..<job.block + job.count].contains(true) else { break }
                let buffer = memory.range.slice(from: place * placeSize, count: job.count * 4096)
                let offset = UInt64((first + job.block) * 4096)
                let values = (0..<job.count).map { _ in random.next() }
                do throws(DriverError) {
                    if job.isWrite {
                        for index in 0..<job.count { fill(buffer.slice(from: index * 4096, count: 4096), values[index]) }
                        try queue.write(at: offset, from: buffer, context: UInt64(place))
                    } else {
                        buffer.fill(0xee)
                        try queue.read(at: offset, into: buffer, context: UInt64(place))
                    }
                } catch {
                    guard error == .queueFull else { throw error }
                    break
                }
                if job.isWrite { contents.replaceSubrange(job.block..<job.block + job.count, with: values) }
                for index in 0..<job.count { isBusy[job.block + index] = true }
                jobs[place] = job
                free.removeLast()
                left -= 1
                if random.oneIn(4) { break }
            }
            queue.submit()
            guard queue.inFlight > 0 else { continue }
            guard try queue.wait(milliseconds: 10_000) else { throw DriverError.timedOut }
            while let completion = try queue.nextCompletion() {
                let place = Int(completion.context)
                let job = jobs[place]
                guard completion.status == .ok else { throw DriverError.failed(completion.status) }
                for index in 0..<job.count {
                    isBusy[job.block + index] = false
                    if !job.isWrite {
                        try check(memory.range.slice(from: place * placeSize + index * 4096, count: 4096), job.block + index)
                    }
                }
                free.append(place)
            }
        }
    }

    private func fill(_ buffer: HostRange, _ value: UInt64) {
        for offset in stride(from: 0, to: buffer.count, by: 512) { buffer.store(value &+ UInt64(offset), at: offset) }
    }

    private func check(_ buffer: HostRange, _ block: Int) throws {
        let value = contents[block]
        for offset in stride(from: 0, to: buffer.count, by: 512) {
            let found = buffer.load(at: offset, as: UInt64.self)
            guard found == (value == 0 ? 0 : value &+ UInt64(offset)) else {
                throw DriverError.refused("Block \(block) has \(String(describing: found)) at \(offset), not what was written.")
            }
        }
    }
}
