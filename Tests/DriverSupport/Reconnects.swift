import Host
import Virtqueue

public import VirtioDriver

extension Conformance {
    /// Drivers of one device, one after the other: each finds what those before it have written, also when they left in the middle of their
    /// requests, with a reset or without. `connect` makes a transport for the next one; `drains` as in `checks`.
    public static func reconnects(drains: Bool = true, connect: () throws -> any VirtioTransport) throws {
        var disk = Blocks()
        for round in 0..<6 {
            do { try disk.pass(try connect(), round: round, drains: drains) } catch {
                throw ConformanceFailure("driver \(round): \(error)")
            }
        }
    }

    /// What a disk's blocks of 4 KiB may have, each filled with one value.
    private struct Blocks {
        static let count = 64
        static let left = 16
        /// More than one where a write was on its way when its driver left.
        private var values = Array(repeating: Set<UInt8>(), count: count)

        /// One driver's time.
        mutating func pass(_ transport: any VirtioTransport, round: Int, drains: Bool) throws {
            let driver = try BlockDriver(transport, queueSize: 128)
            let memory = try driver.makeMemory(byteCount: Self.count * 4096)
            var queue = try driver.takeQueue()
            let places = try (0..<Self.count).map { try part(memory, $0 * 4096, 4096) }
            for (block, place) in places.enumerated() {
                place.fill(0xee)
                try queue.read(at: UInt64(block * 4096), into: place)
                guard round > 0 else { continue }
                let found = place.load(at: 0, as: UInt8.self) ?? 0
                try expect(values[block].contains(found), "block \(block) has \(found), and may have \(values[block].sorted())")
                let isWhole = (0..<512).allSatisfy { place.load(at: $0 * 8, as: UInt64.self) == UInt64(found) &* 0x0101_0101_0101_0101 }
                try expect(isWhole, "block \(block) has pieces of several writes")
            }
            let value = UInt8(round * 2 + 1)
            for (block, place) in places.enumerated() {
                place.fill(value)
                try queue.write(at: UInt64(block * 4096), from: place)
                values[block] = [value]
            }
            if transport.features.contains(.blkFlush) { try queue.flush() }
            for block in 0..<Self.left {
                places[block].fill(value + 1)
                try queue.write(at: UInt64(block * 4096), from: places[block], context: UInt64(block))
                values[block] = drains ? [value, value + 1] : [value + 1]
            }
            queue.submit()
            var taken: Set<UInt64> = []
            while !drains, taken.count < Self.left {
                try expect(try queue.wait(milliseconds: BlockQueue.patience), "no answer")
                while let completion = try queue.nextCompletion() { taken.insert(completion.context) }
            }
            // The others just go.
            guard round % 2 == 0 else { return }
            try transport.reset()
            let abandoned = queue.abandon()
            let expected = (0..<UInt64(Self.left)).filter { !taken.contains($0) }
            try expect(abandoned.sorted() == expected, "given up \(abandoned.sorted()), expected \(expected)")
        }
    }
}
