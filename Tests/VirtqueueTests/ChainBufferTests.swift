import Testing
import Virtqueue

/// Reading, writing and accounting of one chain.
@Suite struct ChainBufferTests {
    /// A popped chain with readable segments of 3, 1, 0 and 8 bytes (values 0, 1, 2 …) and writable ones of 2, 5 and 4 bytes.
    private func chain(_ format: RingFormat = .split) throws -> RawRing {
        var ring = try RawRing(format, size: 8)
        let lengths: [(UInt32, UInt16)] = [(3, 0), (1, 0), (0, 0), (8, 0), (2, RawRing.write), (5, RawRing.write), (4, RawRing.write)]
        var value: UInt8 = 0
        for (index, (length, flags)) in lengths.enumerated() {
            let next = index + 1 < lengths.count ? RawRing.next : 0
            let address = ring.data + UInt64(100 * index)
            if format == .split {
                ring.split(index, address, length, flags | next, next: UInt16(index + 1))
            } else {
                ring.packed(index, address, length, flags | next)
            }
            if flags == 0 {
                for offset in 0..<UInt64(length) {
                    ring.memory[address + offset] = value
                    value += 1
                }
            }
        }
        if format == .split { ring.offer([0]) }
        try require(ring.pop() == .chain(12, 11), "the chain is there")
        return ring
    }

    @Test func integersAcrossSegments() throws {
        var ring = try chain()
        check(ring.chain.readInteger(as: UInt32.self) == 0x0302_0100)
        check(ring.chain.readableBytes == 8 && ring.chain.readable.count == 1)
        check(ring.chain.readInteger(as: UInt8.self) == 4)
        check(ring.chain.readable[0].count == 7)
        check(ring.chain.readInteger(as: UInt64.self) == nil, "one byte is missing, so none is consumed")
        check(ring.chain.readableBytes == 7)
        check(ring.chain.skipReadable(3) == 3)
        check(ring.chain.readInteger(as: UInt16.self) == 0x0908)
        check(ring.chain.skipReadable(100) == 2)
        check(ring.chain.skipReadable(-1) == 0)
        check(ring.chain.readable.isEmpty)
        check(ring.chain.readInteger(as: UInt8.self) == nil)
    }

    @Test func readingIntoMoreThanThereIs() throws {
        var ring = try chain()
        var bytes = [UInt8](repeating: 0xff, count: 20)
        var span = bytes.mutableSpan
        var raw = span.untyped
        let count = ring.chain.read(into: &raw)
        check(count == 12)
        check(bytes == Array(0..<12) + [UInt8](repeating: 0xff, count: 8))
        var empty: [UInt8] = []
        var none = empty.mutableSpan
        var nothing = none.untyped
        check(ring.chain.read(into: &nothing) == 0)
    }

    @Test func writingAcrossSegments() throws {
        var ring = try chain()
        let bytes: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8, 9]
        check(ring.chain.write(bytes.span.untyped) == 9)
        check(ring.chain.written == 9 && ring.chain.writableBytes == 2)
        check(!ring.chain.writeInteger(1 as UInt32), "two bytes are missing, so none is written")
        check(ring.chain.write(bytes.span.untyped) == 2)
        check(ring.chain.written == 11 && ring.chain.writable.isEmpty)
        check(ring.chain.write(bytes.span.untyped) == 0)
        let data = ring.data
        let written = [400, 401, 500, 501, 502, 503, 504, 600, 601, 602, 603].map { ring.memory[data + UInt64($0)] }
        check(written == [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2])
        check(ring.memory[data + 402] == 0 && ring.memory[data + 505] == 0 && ring.memory[data + 604] == 0)
    }

    /// Block's status byte: the last writable byte, wherever the driver puts it.
    @Test func tail() throws {
        var ring = try chain()
        let tail = ring.chain.takeWritableTail(1)
        check(tail?.count == 1)
        tail?.fill(0x77)
        check(ring.memory[ring.data + 603] == 0x77)
        check(ring.chain.writableBytes == 10)
        check(ring.chain.takeWritableTail(1) == nil, "there is one tail")
        check(ring.chain.skipWritable(100) == 10)

        ring = try chain()
        check(ring.chain.takeWritableTail(5) == nil, "it does not lie in one segment")
        check(ring.chain.takeWritableTail(0) == nil)
        check(ring.chain.takeWritableTail(4)?.count == 4)
        check(ring.chain.writable.count == 2 && ring.chain.writableBytes == 7)

        ring = try chain()
        check(ring.chain.skipWritable(9) == 9)
        check(ring.chain.takeWritableTail(3) == nil, "part of it is consumed")
        check(ring.chain.takeWritableTail(2)?.count == 2)
        check(ring.chain.writableBytes == 0 && ring.chain.skipWritable(1) == 0)
    }

    /// Dirty logging: everything that a device could write to is marked before the driver can see the used entry, whatever was consumed or
    /// claimed, because a failed read leaves bytes that nobody counts. A rewound chain is marked alike.
    @Test(arguments: [RingFormat.split, .packed])
    func marking(_ format: RingFormat) throws {
        let all = [400, 401, 500, 501, 502, 503, 504, 600, 601, 602, 603]
        // Consumed through the chain, claimed in `complete` (nil rewinds), tail taken.
        let cases: [(consumed: Int, claimed: UInt32?, tail: Bool)] = [
            (0, 0, false), (0, 0, true), (1, 0, false), (4, 2, false), (2, 1, true), (9, 9, true), (0, 100, true), (10, 10, true),
            (11, 11, false), (0, nil, false), (3, nil, true),
        ]
        for (consumed, claimed, tail) in cases {
            var ring = try chain(format)
            var marked: Set<Int> = []
            let (memory, layout) = (ring.memory, ring.layout)
            let data = Int(layout.data - TestMemory.address)
            ring.memory.onWritten = { offset, count in
                guard offset >= data else { return }  // The ring's own words.
                for byte in offset..<offset + count { marked.insert(byte - data) }
                let shown =
                    format == .split
                    ? memory.load(UInt16.self, at: layout.configuration.deviceArea + 2) != 0
                    : memory.load(UInt16.self, at: layout.configuration.descriptorArea + 14) & RawRing.used != 0
                if shown { Issue.record("the used entry is visible already") }
            }
            ring.chain.skipWritable(consumed)
            if tail { check(ring.chain.takeWritableTail(1) != nil) }
            if let claimed {
                ring.device.complete(ring.chain, written: claimed)
                _ = ring.device.publish()
            } else {
                check(ring.device.rewind(ring.chain))
            }
            ring.memory.onWritten = nil
            check(marked.sorted() == all, "\(format), consumed \(consumed), claimed \(claimed ?? .max), tail \(tail)")
        }
    }

    /// Only the chain that was popped last can be given back; anything else leaves the queue alone.
    @Test(arguments: [RingFormat.split, .packed])
    func rewinding(_ format: RingFormat) throws {
        var ring = try RawRing(format)
        for index in 0..<3 {
            if format == .split { ring.split(index, ring.data, 1, 0) } else { ring.packed(index, ring.data, 1, 0, id: UInt16(index)) }
        }
        if format == .split { ring.offer([0, 1, 2]) }
        var first = ChainBuffer(capacity: 4)
        var second = ChainBuffer(capacity: 4)
        check(!ring.device.rewind(first), "never popped")
        let start = ring.device.position
        var popped = try ring.device.pop(into: &first)
        let between = ring.device.position
        popped = try ring.device.pop(into: &second) && popped
        check(popped)
        check(!ring.device.rewind(first), "the second one was popped later")
        check(ring.device.rewind(second))
        check(ring.device.position == between)
        check(!ring.device.rewind(second), "given back already")
        check(ring.device.rewind(first))
        check(ring.device.position == start && ring.device.inFlight == 0)
        check(ring.pop() == .chain(1, 0))
        check(ring.chain.head == 0)
    }
}
