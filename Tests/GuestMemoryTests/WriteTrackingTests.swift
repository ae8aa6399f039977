import Glibc
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

    @Test("RAM that other processes map has its notes where they find them, by guest address")
    func shared() throws {
        // The second region neither begins nor lies where whole words of bits do.
        let ranges: [Range<UInt64>] = [0..<0x21000, 0x25000..<0x80000, 0x1_0000_0000..<0x1_0005_0000]
        let memory = try GuestMemory(ranges: ranges, isShared: true, tracksWrites: true)
        #expect(try GuestMemory(ranges: ranges, isShared: true).rawLog == nil)
        #expect(try GuestMemory(ranges: ranges, tracksWrites: true).rawLog == nil)
        let log = try #require(memory.rawLog)
        let theirs = OwnedDescriptor(owning: dup(log.descriptor))
        let words = try MemoryMapping(theirs, count: Int(log.size))
        #expect(log.size == (0x10_0050 + 63) / 64 * 8)
        memory.store(UInt8(1), at: 0x20fff)
        memory.store(UInt8(1), at: 0x25000)
        memory.store(UInt8(1), at: 0x1_0004_0000)
        #expect(words.range.load(at: 4, as: UInt8.self) == 0b10_0001)
        #expect(words.range.load(at: 0x2_0008, as: UInt8.self) == 1)
        // A page that there is, one between regions, and one more.
        words.range.store(UInt8(0x80), at: 0x2_0000)
        words.range.store(UInt8(0b0001_1110), at: 4)
        words.range.store(UInt8(1), at: 5)
        #expect(memory.takeWritten().runs == extents([(0x28 - 4, 1), (0x7c + 7, 1), (0x7c + 0x40, 1)]))
        #expect(memory.takeWritten().isEmpty)
        #expect((0..<words.range.count / 8).allSatisfy { words.range.load(at: $0 * 8, as: UInt64.self) == 0 })
    }

    @Test("A log of another process must be sealed memory, long enough, with bits for all of RAM")
    func foreign() throws {
        let ram = try GuestMemory(ranges: [0..<0x10_0000], isShared: true)
        let region = try ForeignRegion(
            guestAddress: 0x40_0000, size: 0x10_0000, file: OwnedDescriptor(owning: dup(try #require(ram.rawFileDescriptor))),
            fileOffset: 0)
        func bitmap(size: UInt64, offset: UInt64 = 0, isSealed: Bool = true) throws -> WriteBitmap {
            let file = try makeMemoryFile(name: "log", size: 4096)
            if isSealed { try file.seal() }
            return try WriteBitmap(foreign: file, size: size, offset: offset)
        }
        for (size, offset) in [(0, 0), (4097, 0), (1, 4096), (.max, 0), (.max, 1), (1, .max)] as [(UInt64, UInt64)] {
            #expect(throws: SystemError.self) { try bitmap(size: size, offset: offset) }
        }
        #expect(throws: SystemError.self) { try bitmap(size: 4096, isSealed: false) }
        // 0x500 pages take 160 bytes.
        #expect(throws: SystemError.self) { try GuestMemory(foreign: [region], log: ForeignLog(try bitmap(size: 159))) }
        let memory = try GuestMemory(foreign: [region], log: ForeignLog(try bitmap(size: 160, offset: 3936)))
        #expect(memory.tracksWrites && memory.takeWritten().isEmpty)
        memory.store(UInt8(7), at: 0x4f_ffff)
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
