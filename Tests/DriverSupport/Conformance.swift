import Host
import TestSupport
public import Virtio
public import VirtioDriver
public import Virtqueue

/// What is negotiated.
public struct Terms: Sendable, CustomStringConvertible {
    /// VIRTIO_F_RING_PACKED.
    public var packed = false
    /// VIRTIO_F_INDIRECT_DESC.
    public var indirect = false
    /// VIRTIO_F_EVENT_IDX.
    public var eventIndex = false

    /// Split rings, and no more, unless it says otherwise.
    public init(packed: Bool = false, indirect: Bool = false, eventIndex: Bool = false) {
        self.packed = packed
        self.indirect = indirect
        self.eventIndex = eventIndex
    }

    /// Every combination.
    public static let all: [Terms] = (0..<8).map { Terms(packed: $0 & 1 != 0, indirect: $0 & 2 != 0, eventIndex: $0 & 4 != 0) }

    /// As features of a block driver.
    public var wanted: Features {
        var features = BlockDriver.features.subtracting([.indirectDescriptors, .eventIndex])
        if packed { features.insert(.ringPacked) }
        if indirect { features.insert(.indirectDescriptors) }
        if eventIndex { features.insert(.eventIndex) }
        return features
    }

    /// What of it a device that offers `features` gives.
    public var ring: RingFeatures { RingFeatures(format: packed ? .packed : .split, indirect: indirect, eventIndex: eventIndex) }

    /// In a few words.
    public var description: String {
        "\(packed ? "packed" : "split")\(indirect ? ", indirect" : "")\(eventIndex ? ", event index" : "")"
    }
}

/// A check that was not met.
public struct ConformanceFailure: Error, CustomStringConvertible {
    /// What was found.
    public let description: String
    /// Wraps a sentence.
    public init(_ description: String) { self.description = description }
}

/// What every disk does for every driver, whatever is between them: one suite for all transports. A disk of `size` bytes at least, whose
/// content nobody needs, is behind each transport; checks leave it usable for the next one, on a new transport or after a reset.
public enum Conformance {
    /// What a disk must have, in bytes.
    public static let size = 8 << 20

    /// The checks, by name. `operations` is how much the longest one does. `drains`: a device that is stopped finishes what it has begun, as it
    /// must; qemu-storage-daemon 7.2 does not, and uses rings and memory that it was told to leave.
    public static func checks(operations: Int, wraps: Bool, drains: Bool = true) -> [(
        name: String, run: @Sendable (any VirtioTransport) throws -> Void
    )] {
        var all: [(name: String, run: @Sendable (any VirtioTransport) throws -> Void)] = [
            ("requests: data", { try data($0, operations: operations) }),
            ("requests: other requests", { try others($0) }),
            ("requests: pieces", { try vectors($0) }),
            ("requests: reset", { try reset($0, drains: drains) }),
            ("requests: memory comes and goes", { try memory($0) }),
            ("virtqueue: one at a time", { try VirtQueueConformance.single($0) }),
            ("virtqueue: data", { try VirtQueueConformance.data($0, operations: operations / 2) }),
            ("virtqueue: notifications", { try VirtQueueConformance.notifications($0) }),
        ]
        if wraps {
            all.append(("requests: more than an index counts", { try wrap($0) }))
            all.append(("virtqueue: more than an index counts", { try VirtQueueConformance.wrap($0) }))
        }
        return all
    }

    static func expect(_ condition: Bool, _ sentence: @autoclosure () -> String) throws {
        if !condition { throw ConformanceFailure(sentence()) }
    }

    static func part(_ memory: SharedMemory, _ offset: Int, _ count: Int) throws -> HostRange {
        guard let range = memory.slice(from: offset, count: count) else { throw ConformanceFailure("the test's own memory is too small") }
        return range
    }

    /// What is written is read again, in any order, many requests at a time.
    static func data(_ transport: any VirtioTransport, operations: Int) throws {
        let driver = try BlockDriver(transport, queueSize: 64)
        let memory = try driver.makeMemory(byteCount: 1 << 20)
        var queue = try driver.takeQueue()
        // Whatever was there before.
        try clear(&queue, memory)
        var workload = Workload(seed: 11, blocks: size / 4096)
        try workload.run(&queue, memory, operations: operations)
        try expect(queue.inFlight == 0, "requests are left")
    }

    private static func clear(_ queue: inout BlockQueue, _ memory: SharedMemory) throws {
        memory.range.fill(0)
        for offset in stride(from: 0, to: size, by: 1 << 18) {
            try queue.write(at: UInt64(offset), from: memory.range.slice(from: 0, count: 1 << 18))
        }
    }

    /// Flush, identity, zeros, discard: those that were negotiated.
    static func others(_ transport: any VirtioTransport) throws {
        let driver = try BlockDriver(transport)
        let information = try driver.information()
        try expect(information.capacity >= UInt64(size), "the disk has \(information.capacity) bytes")
        let memory = try driver.makeMemory(byteCount: 8192)
        let buffer = try part(memory, 0, 4096)
        var queue = try driver.takeQueue()
        buffer.fill(0x5a)
        try queue.write(at: 4096, from: buffer)
        if transport.features.contains(.blkFlush) { try queue.flush() }
        // A device may have no name, and say so.
        do throws(DriverError) { _ = try queue.identity() } catch { guard case .failed = error else { throw error } }
        if transport.features.contains(.blkWriteZeroes) {
            try queue.writeZeroes(at: 4096, count: 1024)
            try queue.read(at: 4096, into: buffer)
            try expect(buffer.slice(from: 0, count: 1024).isZero, "zeros were not written")
            try expect(buffer.load(at: 1024, as: UInt8.self) == 0x5a, "more zeros were written than asked for")
        }
        if transport.features.contains(.blkDiscard) { try queue.discard(at: 4096, count: 4096) }
    }

    /// The pieces of one request lie anywhere.
    static func vectors(_ transport: any VirtioTransport) throws {
        let driver = try BlockDriver(transport)
        let (one, two) = (try driver.makeMemory(byteCount: 8192), try driver.makeMemory(byteCount: 4096))
        var queue = try driver.takeQueue()
        let ranges = [try part(one, 4096, 512), try part(two, 0, 1024), try part(one, 0, 512)]
        for (index, range) in ranges.enumerated() { range.fill(UInt8(index + 1)) }
        try queue.write(at: 0, from: ranges, context: 1)
        queue.submit()
        try expect(try queue.wait(milliseconds: BlockQueue.patience), "no answer")
        try expect(try queue.nextCompletion()?.status == .ok, "the request failed")
        let check = try part(one, 2048, 2048)
        try queue.read(at: 0, into: check)
        let found = [0, 511, 512, 1535, 1536, 2047].map { check.load(at: $0, as: UInt8.self) }
        try expect(found == [1, 1, 2, 2, 3, 3], "found \(found)")
    }

    /// After a reset the device is as new, and what was in flight has no answer.
    static func reset(_ transport: any VirtioTransport, drains: Bool) throws {
        var data: SharedMemory?
        for round in 0..<3 {
            let driver = try BlockDriver(transport, queueSize: 32)
            let memory = try data ?? driver.makeMemory(byteCount: 8192)
            data = memory
            let buffer = try part(memory, 0, 4096)
            var queue = try driver.takeQueue()
            if round > 0 {
                try queue.read(at: 0, into: buffer)
                try expect(buffer.load(at: 17, as: UInt8.self) == UInt8(round), "what was written before the reset is lost")
            }
            buffer.fill(UInt8(round + 1))
            try queue.write(at: 0, from: buffer)
            try queue.read(at: 4096, into: buffer, context: 77)
            queue.submit()
            if !drains {
                try expect(try queue.wait(milliseconds: BlockQueue.patience), "no answer")
                _ = try queue.nextCompletion()
            }
            try transport.reset()
            try expect(queue.abandon() == (drains ? [77] : []), "the request in flight is not given up")
            do throws(DriverError) {
                try queue.read(at: 0, into: buffer)
                throw DriverError.refused("a queue works after the reset of its device")
            } catch {
                guard case .wrongState = error else { throw error }
            }
        }
    }

    /// Memory comes and goes while the device works.
    static func memory(_ transport: any VirtioTransport) throws {
        let driver = try BlockDriver(transport)
        var queue = try driver.takeQueue()
        for round in 0..<20 {
            let memory = try driver.makeMemory(byteCount: 4096 * (1 + round % 3))
            memory.range.fill(UInt8(round))
            try queue.write(at: UInt64(round * 12288), from: memory.range)
            memory.range.fill(0xff)
            try queue.read(at: UInt64(round * 12288), into: memory.range)
            try expect(memory.range.load(at: 0, as: UInt8.self) == UInt8(round), "round \(round): other data")
            try transport.unmap(memory)
            do throws(DriverError) {
                try queue.read(at: 0, into: memory.range)
                throw DriverError.refused("memory that was taken away is used")
            } catch {
                guard error == .notMapped else { throw error }
            }
        }
    }

    /// More requests than a ring index can count.
    static func wrap(_ transport: any VirtioTransport) throws {
        let driver = try BlockDriver(transport, queueSize: 64)
        let memory = try driver.makeMemory(byteCount: 64 * 512)
        var queue = try driver.takeQueue()
        var (done, asked) = (0, 0)
        while done < 70_000 {
            while asked < 70_000, asked - done < 16 {
                try queue.read(at: UInt64(512 * (asked % 1000)), into: try part(memory, 512 * (asked % 64), 512), context: UInt64(asked))
                asked += 1
            }
            queue.submit()
            try expect(try queue.wait(milliseconds: BlockQueue.patience), "no answer after \(done) requests")
            while let completion = try queue.nextCompletion() {
                try expect(completion.status == .ok, "request \(completion.context): \(completion.status)")
                done += 1
            }
        }
    }
}
