import Glibc
import Host
import Testing
import Virtqueue

@Suite("io_uring", .enabled(if: IOURing.isAvailable))
struct IOURingTests {
    /// Submits and waits for one completion.
    private func complete(_ ring: inout IOURing) throws -> (token: UInt64, result: Int32) {
        try ring.submit(waitingFor: 1)
        guard let completion = ring.nextCompletion() else { throw SystemError("no completion", .noEntry) }
        return completion
    }

    @Test("Writes, reads, fallocate and fdatasync give the results of their system calls")
    func operations() throws {
        var ring = try IOURing(entries: 8)
        let file = try makeMemoryFile(name: "test", size: 65536)
        let memory = try MemoryMapping(anonymous: 16384)
        memory.range.slice(from: 0, count: 4096).fill(0x11)
        memory.range.slice(from: 4096, count: 4096).fill(0x22)
        let source: InlineArray<2, HostRange> = [memory.range.slice(from: 0, count: 4096), memory.range.slice(from: 4096, count: 4096)]
        let wasWritten = ring.write(file.rawValue, from: source.span, at: 4096, token: 7)
        #expect(wasWritten)
        let written = try complete(&ring)
        #expect(written.token == 7 && written.result == 8192)

        let target: InlineArray<1, HostRange> = [memory.range.slice(from: 8192, count: 8192)]
        let wasRead = ring.read(file.rawValue, into: target.span, at: 8192, token: .max)
        #expect(wasRead)
        let read = try complete(&ring)
        #expect(read.token == .max && read.result == 8192)
        #expect(memory.range.load(at: 8192, as: UInt8.self) == 0x22)
        #expect(memory.range.load(at: 12288, as: UInt8.self) == 0)

        let punched = ring.allocate(file.rawValue, .punchHole, at: 4096, count: 4096, token: 1)
        let synchronized = ring.synchronizeData(file.rawValue, token: 2)
        #expect(punched && synchronized)
        try ring.submit(waitingFor: 2)
        var results: [UInt64: Int32] = [:]
        while let completion = ring.nextCompletion() { results[completion.token] = completion.result }
        #expect(results == [1: 0, 2: 0])
        let unsupported = ring.allocate(file.rawValue, .zeroRange, at: 0, count: 4096, token: 3)
        #expect(unsupported)
        #expect(try complete(&ring).result == -EOPNOTSUPP)
        let none = ring.read(-1, into: target.span, at: 0, token: 4)
        #expect(none)
        #expect(try complete(&ring).result == -EBADF)
    }

    @Test("Waiting for a completion ends with one, or after its time, and takes none")
    func waiting() throws {
        var ring = try IOURing(entries: 4)
        let file = try makeMemoryFile(name: "test", size: 4096)
        ring.waitForCompletion(atMost: 1)
        #expect(ring.nextCompletion() == nil)
        let queued = ring.synchronizeData(file.rawValue, token: 5)
        #expect(queued)
        try ring.submit()
        // Until the test's end, if need be: with a completion it returns at once.
        ring.waitForCompletion(atMost: -1)
        ring.waitForCompletion(atMost: -1)
        #expect(ring.nextCompletion()?.token == 5)
    }

    @Test("A full queue refuses; after the submission it takes more, and no completion is lost")
    func batches() throws {
        var ring = try IOURing(entries: 4)
        let file = try makeMemoryFile(name: "test", size: 4096)
        var submitted = 0
        for _ in 0..<20 {
            while ring.synchronizeData(file.rawValue, token: UInt64(submitted)) { submitted += 1 }
            try ring.submit()
        }
        #expect(submitted == 20 * ring.entries)
        var seen: Set<UInt64> = []
        while seen.count < submitted {
            guard let completion = ring.nextCompletion() else {
                try ring.submit(waitingFor: 1)
                continue
            }
            #expect(seen.insert(completion.token).inserted)
        }
    }

    @Test("The ring's descriptor is readable while there are completions")
    func polling() throws {
        var ring = try IOURing(entries: 4)
        let poller = try Poller()
        try poller.add(ring.rawDescriptor, token: 5)
        #expect(try poller.wait(timeoutMilliseconds: 0) { _ in } == 0)
        let file = try makeMemoryFile(name: "test", size: 4096)
        let queued = ring.synchronizeData(file.rawValue, token: 1)
        #expect(queued)
        try ring.submit()
        var token: UInt64 = 0
        #expect(try poller.wait(timeoutMilliseconds: 30000) { token = $0.token } == 1)
        #expect(token == 5)
        let completion = ring.nextCompletion()
        #expect(completion != nil)
        #expect(try poller.wait(timeoutMilliseconds: 0) { _ in } == 0)
    }

    @Test("A ring holds its witness open until it is gone")
    func witness() throws {
        var pipe: Pipe? = try Pipe()
        guard let end = try pipe?.reader.duplicate(), let raw = pipe?.writer.rawValue else { throw SystemError("pipe", .badDescriptor) }
        var ring: IOURing? = try IOURing(entries: 4, restrictedTo: IOURing.Operation.allCases, witness: raw)
        _ = pipe.take()
        // Our own descriptor is closed, and nobody else has one.
        let isEarly = end.isHungUp
        #expect(!isEarly)
        _ = ring.take()
        // The kernel takes a ring down when it finds the time.
        let poller = try Poller()
        try poller.add(end.rawValue, token: 0)
        var hasEnded = false
        let deadline = MonotonicTime.now + 30_000
        // The kernel's own work for the ring ends a wait early.
        while !hasEnded, MonotonicTime.now < deadline {
            try poller.wait(timeoutMilliseconds: 1000) { event in hasEnded = event.hungUp }
        }
        #expect(hasEnded)
    }

    @Test("A restricted ring does what it was made for and nothing else")
    func restrictions() throws {
        var ring = try IOURing(entries: 4, restrictedTo: [.synchronizeData, .read])
        let file = try makeMemoryFile(name: "test", size: 4096)
        let allowed = ring.synchronizeData(file.rawValue, token: 1)
        #expect(allowed)
        #expect(try complete(&ring).result == 0)
        let memory = try MemoryMapping(anonymous: 4096)
        let ranges: InlineArray<1, HostRange> = [memory.range]
        let forbidden = ring.write(file.rawValue, from: ranges.span, at: 0, token: 2)
        #expect(forbidden)
        #expect(try complete(&ring).result == -EACCES)
        let other = ring.allocate(file.rawValue, .punchHole, at: 0, count: 4096, token: 3)
        #expect(other)
        #expect(try complete(&ring).result == -EACCES)
    }

    @Test("Sizes that no ring can have are refused")
    func sizes() {
        for entries in [0, -1, Int.max] { #expect(throws: SystemError.self) { _ = try IOURing(entries: entries) } }
    }
}
