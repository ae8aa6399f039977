import Host
import TestSupport
import Testing
import Virtqueue

@testable import GuestMemory

/// Every byte that a device changes lies in a page that is marked: rings, notification words and buffers, on random schedules.
@Suite("Tracking of writes")
struct WriteTrackingTests {
    private static let pageCount = 128

    @Test("Nothing is marked unless it is asked for; accessors mark what they write, once")
    func accessors() throws {
        let plain = try GuestMemory(ranges: [0..<0x10000])
        plain.store(UInt8(1), at: 0)
        #expect(!plain.tracksWrites && plain.takeWritten().isEmpty)

        let memory = try GuestMemory(ranges: [0..<0x10000, 0x1_0000_0000..<0x1_0001_0000], tracksWrites: true)
        #expect(memory.tracksWrites && memory.takeWritten().isEmpty)
        memory.store(UInt64(1), at: 0x2ffc)
        memory.write([1], at: 0x1_0000_0fff)
        memory.write([], at: 0x5000)
        memory.store(UInt64(1), at: 0xfffc)  // Not inside.
        _ = memory.read(at: 0x7000, count: 4096)
        #expect(memory.takeWritten().runs == extents([(2, 2), (16, 1)]))
        #expect(memory.takeWritten().isEmpty)
        memory.markWritten(try #require(memory.range(at: 0, count: 0x10000)))
        memory.markWritten(try MemoryMapping(anonymous: 4096).range)
        #expect(memory.takeWritten().runs == extents([(0, 16)]))
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var features: RingFeatures
        var size: UInt16
        var testDescription: String { "\(features) \(size)" }
    }

    private static let cases: [Case] = [RingFormat.split, .packed].flatMap { format in
        [false, true].flatMap { event in
            [8, 1024].map { Case(features: RingFeatures(format: format, indirect: false, eventIndex: event), size: $0) }
        }
    }

    @Test("What a device changes is marked, whatever it does, across resets, and when marks are taken at any time", arguments: cases)
    func queues(_ ring: Case) throws {
        var random = Random(seed: UInt64(ring.size) + (ring.features.eventIndex ? 1 : 0) + (ring.features.format == .packed ? 2 : 0))
        let memory = try GuestMemory(ranges: [0..<UInt64(Self.pageCount) * 4096], tracksWrites: true)
        let shadow = try MemoryMapping(anonymous: Self.pageCount * 4096)
        // Each area on pages of its own, so that no mark of one covers another.
        var configuration = QueueConfiguration(maxSize: 1024)
        configuration.size = ring.size
        configuration.descriptorArea = 0
        configuration.driverArea = 8 * 4096
        configuration.deviceArea = 16 * 4096
        configuration.ready = true
        let buffers: UInt64 = 32 * 4096
        // The pages that have changed since the last call.
        let changedPages = {
            try (0..<Self.pageCount).filter { page in
                let old = shadow.range.slice(from: page * 4096, count: 4096)
                let new = try #require(memory.range(of: MemoryExtent(firstPage: page, pageCount: 1)))
                guard !new.hasSameBytes(as: old) else { return false }
                let bytes = try #require(memory.read(at: UInt64(page) * 4096, count: 4096))
                old.copy(from: bytes.span)
                return true
            }
        }
        let compare = { (what: String) in
            let marked = memory.takeWritten()
            let missed = try changedPages().filter { !marked.contains($0) }
            if !missed.isEmpty { Issue.record("\(what): pages \(missed) are not marked") }
        }
        // What the driver does is the guest's business, and in KVM's log.
        let forget = {
            _ = memory.takeWritten()
            _ = try changedPages()
        }
        for _ in 0..<4 {
            var driver = try DriverQueue(configuration, features: ring.features, memory: memory)
            var device = try DeviceQueue(configuration, features: ring.features, memory: memory)
            for _ in 0..<12 {
                for _ in 0..<random.below(min(Int(ring.size) / 2, 200)) {
                    let address = buffers + UInt64(random.below(90 * 4096))
                    let readable = [DriverBuffer(address: address, count: 16)]
                    let writable = [
                        DriverBuffer(address: address + 100, count: UInt32(1 + random.below(6000))),
                        DriverBuffer(address: buffers + UInt64(random.below(95 * 4096)), count: 9),
                    ]
                    guard driver.freeDescriptors >= 3 else { break }
                    _ = try driver.add(readable: readable.span, writable: writable.span)
                }
                _ = driver.publish()
                try forget()
                device.disableNotifications()
                if random.below(2) == 0 { try compare("notifications off") }
                try serve(&device, &random, memory) { try compare($0) }
                _ = device.publish()
                if random.below(2) == 0 { try compare("published") }
                _ = try device.enableNotifications()
                try compare("notifications on")
                while try driver.popUsed() != nil {}
                _ = driver.setUsedNotifications(random.below(2) == 0)
                try forget()
            }
        }
    }

    /// Takes what is there, writes to it in one of the ways that devices have, and completes it, or rewinds it and ends.
    private func serve(
        _ device: inout DeviceQueue<GuestMemory>, _ random: inout Random, _ memory: GuestMemory, _ compare: (String) throws -> Void
    ) throws {
        var chain = ChainBuffer(capacity: 4)
        while try device.pop(into: &chain) {
            let byte = UInt8(random.below(256))
            let status = random.below(2) == 0 ? chain.takeWritableTail(1) : nil
            switch random.below(4) {
            case 0:
                chain.write([UInt8](repeating: byte, count: random.below(5000)).span.untyped)
                device.complete(chain, written: chain.written)
            case 1:
                // A vectored read that reaches further than its caller counts: it failed half-way.
                for index in chain.writable.indices { chain.writable[index].fill(byte) }
                status?.store(byte, at: 0)
                device.complete(chain, written: status == nil ? 0 : 1)
            case 2:
                chain.skipWritable(random.below(3000))
                if chain.writable.count > 0 { chain.writable[0].fill(byte) }
                device.complete(chain, written: chain.written)
            default:
                for index in chain.writable.indices { chain.writable[index].fill(byte) }
                status?.store(byte, at: 0)
                device.rewind(chain)
                if random.below(2) == 0 { try compare("rewound") }
                if random.below(3) == 0 { return }
                _ = try device.pop(into: &chain)
                device.complete(chain, written: 0)
            }
            if random.below(4) == 0 { try compare("completed") }
            if random.below(6) == 0 {
                _ = device.publish()
                if random.below(2) == 0 { try compare("published in between") }
            }
        }
    }
}
