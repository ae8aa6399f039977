public import Host
import VirtioDriver
import Virtqueue

/// How much is on its way at a time.
enum DiskPipeline {
    static let chunk = 1 << 20
    static let depth = 8
}

extension OpenDisk {
    /// Writes `length` bytes from `offset` on to a descriptor, in order; `report` hears of each step, in bytes.
    public func read(
        from offset: UInt64, length: UInt64?, to output: borrowing OwnedDescriptor, report: (UInt64) -> Void = { _ in }
    ) throws(VMError) {
        let part = try part(from: offset, length: length)
        let memory = try makeBuffers()
        // Whole sectors, of which the first and the last may be wanted in part.
        let begin = part.lowerBound / BlockInformation.sector * BlockInformation.sector
        let (chunk, depth) = (UInt64(DiskPipeline.chunk), DiskPipeline.depth)
        var failed: SystemError?
        try use { (queue) throws(DriverError) in
            var isDone = Array(repeating: false, count: depth)
            var asked = begin
            var written = begin
            while written < part.upperBound {
                while asked < part.upperBound, asked - written < chunk * UInt64(depth) {
                    let slot = Int((asked - begin) / chunk) % depth
                    let sectors = (min(chunk, part.upperBound - asked) + BlockInformation.sector - 1) / BlockInformation.sector
                    let buffer = memory.range.slice(from: slot * DiskPipeline.chunk, count: Int(sectors * BlockInformation.sector))
                    try queue.read(at: asked, into: buffer, context: UInt64(slot))
                    isDone[slot] = false
                    asked += chunk
                }
                queue.submit()
                let slot = Int((written - begin) / chunk) % depth
                while !isDone[slot] {
                    let ended = try queue.finishOne()
                    if isDone.indices.contains(Int(ended)) { isDone[Int(ended)] = true }
                }
                let first = max(written, part.lowerBound)
                let end = min(written + chunk, part.upperBound)
                let bytes = memory.range.slice(
                    from: slot * DiskPipeline.chunk + Int(first - written), count: Int(end - first))
                do throws(SystemError) { try output.writeAllSequentially(bytes) } catch {
                    failed = error
                    // Buffers stay until the device has let go of them.
                    while queue.inFlight > 0 { _ = try queue.finishOne() }
                    return
                }
                written += chunk
                report(end - part.lowerBound)
            }
        }
        if let failed { throw VMError(.resource, "The output cannot be written (\(failed.errno)).") }
    }

    /// Writes what comes from a descriptor to the disk, from `offset` (whole sectors) on, and flushes. Of a last sector that the input does
    /// not fill, the rest stays. Returns the number of bytes.
    public func write(
        at offset: UInt64, from input: borrowing OwnedDescriptor, report: (UInt64) -> Void = { _ in }
    ) throws(VMError) -> UInt64 {
        guard offset % BlockInformation.sector == 0 else { throw failure(.unaligned(offset, to: BlockInformation.sector)) }
        _ = try part(from: offset, length: nil)
        let memory = try makeBuffers()
        let spare = try makeBuffers(byteCount: SharedMemory.pageSize)
        let canFlush = driver.transport.features.contains(.blkFlush)
        var failed: SystemError?
        let total = try use { (queue) throws(DriverError) -> UInt64 in
            var free = Array(0..<DiskPipeline.depth)
            var position = offset
            while true {
                if free.isEmpty {
                    let ended = try queue.finishOne()
                    free.append(Int(truncatingIfNeeded: ended))
                }
                let slot = free.removeLast()
                let buffer = memory.range.slice(from: slot * DiskPipeline.chunk, count: DiskPipeline.chunk)
                let count: Int
                do throws(SystemError) { count = try input.readAllSequentially(into: buffer) } catch {
                    failed = error
                    break
                }
                let whole = count - count % Int(BlockInformation.sector)
                if whole > 0 {
                    try queue.write(at: position, from: buffer.slice(from: 0, count: whole), context: UInt64(slot))
                    queue.submit()
                }
                if whole < count {
                    while queue.inFlight > 0 { _ = try queue.finishOne() }
                    let sector = spare.range.slice(from: 0, count: Int(BlockInformation.sector))
                    try queue.read(at: position + UInt64(whole), into: sector)
                    let rest = buffer.slice(from: whole, count: count - whole)
                    for index in 0..<rest.count { sector.store(rest.load(at: index, as: UInt8.self) ?? 0, at: index) }
                    try queue.write(at: position + UInt64(whole), from: sector)
                }
                position += UInt64(count)
                report(position - offset)
                if count < DiskPipeline.chunk { break }
            }
            while queue.inFlight > 0 { _ = try queue.finishOne() }
            if canFlush { try queue.flush() }
            return position - offset
        }
        if let failed { throw VMError(.resource, "The input cannot be read (\(failed.errno)).") }
        return total
    }

    /// Memory for a pipeline, shown to the device.
    func makeBuffers(byteCount: Int = DiskPipeline.chunk * DiskPipeline.depth) throws(VMError) -> SharedMemory {
        do throws(DriverError) { return try driver.makeMemory(byteCount: byteCount) } catch { throw failure(error) }
    }
}

extension BlockQueue {
    /// Waits for any request, which must have succeeded; its context.
    mutating func finishOne() throws(DriverError) -> UInt64 {
        guard try wait(milliseconds: BlockQueue.patience), let completion = try nextCompletion() else { throw .timedOut }
        guard completion.status == .ok else { throw .failed(completion.status) }
        return completion.context
    }
}

extension OwnedDescriptor {
    /// Writes all of a range to a stream.
    fileprivate borrowing func writeAllSequentially(_ range: HostRange) throws(SystemError) {
        var done = 0
        while done < range.count {
            let rest: InlineArray<1, HostRange> = [range.slice(from: done)]
            do throws(SystemError) { done += try write(from: rest.span) } catch {
                // Somebody else's flag may be on the pipe that we were given.
                guard error.errno == .wouldBlock else { throw error }
                _ = try waitWritable(milliseconds: 1000)
            }
        }
    }

    /// Fills a range from a stream, as far as it goes.
    fileprivate borrowing func readAllSequentially(into range: HostRange) throws(SystemError) -> Int {
        var done = 0
        while done < range.count {
            let rest: InlineArray<1, HostRange> = [range.slice(from: done)]
            let count = try read(into: rest.span)
            if count == 0 { break }
            done += count
        }
        return done
    }
}
