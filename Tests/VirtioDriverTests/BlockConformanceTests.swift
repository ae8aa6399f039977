import Host
import TestSupport
import Testing
import Virtio
import Virtqueue

@testable import VirtioDriver

/// What every disk does for its driver, whatever is between them.
@Suite("Block driver over every transport")
struct BlockConformanceTests {
    static var cases: [(Reach, Terms)] {
        Reach.allCases.flatMap { reach in
            // qemu-storage-daemon has no packed rings: it would be the same again.
            Terms.all.filter { reach != .storageDaemon || (!$0.packed && StorageDaemon.isHere) }.map { (reach, $0) }
        }
    }

    @Test("what is written is read again, in any order, many requests at a time", arguments: cases)
    func data(_ reach: Reach, _ terms: Terms) throws {
        let disk = try TestDisk(reach, terms)
        #expect(
            disk.transport.features.ring
                == RingFeatures(format: terms.packed ? .packed : .split, indirect: terms.indirect, eventIndex: terms.eventIndex))
        let driver = try BlockDriver(disk.transport, queueSize: 64)
        let memory = try driver.makeMemory(byteCount: 1 << 20)
        var queue = try driver.takeQueue()
        var workload = Workload(seed: 11, blocks: TestDisk.size / 4096)
        try workload.run(&queue, memory, operations: 3000)
        #expect(queue.inFlight == 0)
    }

    @Test("more requests than a ring index can count", arguments: [(Reach.loopback, false), (.loopback, true), (.service, false)])
    func wrap(_ reach: Reach, _ packed: Bool) throws {
        let disk = try TestDisk(reach, Terms(packed: packed, indirect: true, eventIndex: true))
        let driver = try BlockDriver(disk.transport, queueSize: 64)
        let memory = try driver.makeMemory(byteCount: 64 * 512)
        var queue = try driver.takeQueue()
        var done = 0
        var asked = 0
        while done < 70_000 {
            while asked < 70_000, asked - done < 48 {
                let buffer = try #require(memory.slice(from: 512 * (asked % 64), count: 512))
                try queue.read(at: UInt64(512 * (asked % 1000)), into: buffer, context: UInt64(asked))
                asked += 1
            }
            queue.submit()
            #expect(try queue.wait(milliseconds: 10_000))
            while let completion = try queue.nextCompletion() {
                if completion.status != .ok { Issue.record("request \(completion.context): \(completion.status)") }
                done += 1
            }
        }
        #expect(done == 70_000)
    }

    @Test("the other requests", arguments: cases.filter { $0.1.eventIndex == $0.1.indirect })
    func others(_ reach: Reach, _ terms: Terms) throws {
        let disk = try TestDisk(reach, terms)
        let driver = try BlockDriver(disk.transport)
        let information = try driver.information()
        #expect(information.capacity == UInt64(TestDisk.size))
        let memory = try driver.makeMemory(byteCount: 8192)
        let buffer = try #require(memory.slice(from: 0, count: 4096))
        var queue = try driver.takeQueue()
        buffer.fill(0x5a)
        try queue.write(at: 4096, from: buffer)
        try queue.flush()
        let identity = try queue.identity()
        #expect(identity == (reach == .storageDaemon ? "vhost_user_blk" : "a serial"))
        try queue.writeZeroes(at: 4096, count: 1024)
        try queue.read(at: 4096, into: buffer)
        #expect(buffer.slice(from: 0, count: 1024).isZero)
        #expect(buffer.load(at: 1024, as: UInt8.self) == 0x5a)
        try queue.discard(at: 4096, count: 4096)
    }

    @Test("the pieces of one request lie anywhere", arguments: cases.filter { $0.1.eventIndex })
    func vectors(_ reach: Reach, _ terms: Terms) throws {
        let disk = try TestDisk(reach, terms)
        let driver = try BlockDriver(disk.transport)
        let (one, two) = (try driver.makeMemory(byteCount: 8192), try driver.makeMemory(byteCount: 4096))
        var queue = try driver.takeQueue()
        let parts = [(one, 4096, 512), (two, 0, 1024), (one, 0, 512)]
        let ranges = try parts.map { try #require($0.0.slice(from: $0.1, count: $0.2)) }
        for (index, range) in ranges.enumerated() { range.fill(UInt8(index + 1)) }
        try queue.write(at: 0, from: ranges, context: 1)
        queue.submit()
        #expect(try queue.wait(milliseconds: 10_000))
        #expect(try queue.nextCompletion()?.status == .ok)
        let check = try #require(one.slice(from: 2048, count: 2048))
        try queue.read(at: 0, into: check)
        #expect([0, 511, 512, 1535, 1536, 2047].map { check.load(at: $0, as: UInt8.self) } == [1, 1, 2, 2, 3, 3])
    }

    @Test("after a reset the device is as new", arguments: cases.filter { $0.1.indirect })
    func reset(_ reach: Reach, _ terms: Terms) throws {
        let disk = try TestDisk(reach, terms)
        var data: SharedMemory?
        for round in 0..<3 {
            let driver = try BlockDriver(disk.transport, queueSize: 32)
            let memory = try data ?? driver.makeMemory(byteCount: 8192)
            data = memory
            let buffer = try #require(memory.slice(from: 0, count: 4096))
            var queue = try driver.takeQueue()
            if round > 0 {
                try queue.read(at: 0, into: buffer)
                #expect(buffer.load(at: 17, as: UInt8.self) == UInt8(round))
            }
            buffer.fill(UInt8(round + 1))
            try queue.write(at: 0, from: buffer)
            // Something is in flight.
            try queue.read(at: 4096, into: buffer, context: 77)
            queue.submit()
            try disk.transport.reset()
            #expect(queue.abandon() == [77])
            #expect(throws: DriverError.self) { try queue.read(at: 0, into: buffer) }
        }
    }

    @Test("memory comes and goes while requests run", arguments: [Reach.loopback, .service, .storageDaemon])
    func memory(_ reach: Reach) throws {
        guard reach != .storageDaemon || StorageDaemon.isHere else { return }
        let disk = try TestDisk(reach)
        let driver = try BlockDriver(disk.transport)
        var queue = try driver.takeQueue()
        for round in 0..<20 {
            let memory = try driver.makeMemory(byteCount: 4096 * (1 + round % 3))
            memory.range.fill(UInt8(round))
            try queue.write(at: UInt64(round * 12288), from: memory.range)
            memory.range.fill(0xff)
            try queue.read(at: UInt64(round * 12288), into: memory.range)
            #expect(memory.range.load(at: 0, as: UInt8.self) == UInt8(round))
            try disk.transport.unmap(memory)
            #expect(throws: DriverError.notMapped) { try queue.read(at: 0, into: memory.range) }
        }
    }

    @Test("each queue has a thread of its own", arguments: [Reach.loopback, .service, .storageDaemon])
    func queues(_ reach: Reach) throws {
        guard reach != .storageDaemon || StorageDaemon.isHere else { return }
        let disk = try TestDisk(reach, Terms(indirect: true, eventIndex: true), queues: 3)
        let driver = try BlockDriver(disk.transport, queues: 3, queueSize: 32)
        var threads: [WorkerThread<Bool>] = []
        for index in 0..<3 {
            let memory = try driver.makeMemory(byteCount: 1 << 18)
            let slot = Slot(try driver.takeQueue(index))
            let blocks = TestDisk.size / 4096 / 3
            threads.append(
                try WorkerThread(name: "queue \(index)", state: false) { isDone, _ in
                    guard var queue = slot.take() else { return }
                    do {
                        var workload = Workload(seed: UInt64(index), blocks: blocks, from: blocks * index)
                        try workload.run(&queue, memory, operations: 1000)
                        isDone = true
                    } catch {
                        Issue.record(error)
                    }
                })
        }
        for thread in threads { #expect(thread.stop() == true) }
        #expect(throws: DriverError.noSuchQueue(0)) { _ = try driver.takeQueue(0).inFlight }
    }
}
