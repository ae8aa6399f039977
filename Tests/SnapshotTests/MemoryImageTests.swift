import GuestMemory
import Host
import Schema
import TestSupport
import Testing
import Virtqueue

@testable import Snapshot

@Suite("Memory images")
struct MemoryImageTests {
    private let tables: Tables
    init() throws { tables = try Tables() }

    /// A class, because a suite's properties are copied.
    private final class Tables {
        let descriptor: OwnedDescriptor
        init() throws { descriptor = try .pageTables() }
    }

    private func full(_ memory: GuestMemory, digest: Bool = false) throws -> Saved {
        try Saved { try MemoryWriter(memory, digest: digest).writeFull(to: $0, pageTables: tables.descriptor) }
    }

    @Test("A full image holds the pages that are not zero, in a sparse file as large as RAM, and restores to the same bytes")
    func full() throws {
        let memory = try TestRAM.make()
        for page in [0, 1, 2, 50, 99, 100, 101, 255] { try memory.fill(page, UInt8(page & 0xff) | 1) }
        try memory.fill(60, 0)  // Touched, and zero again.
        memory.store(UInt8(1), at: 70 * 4096 + 4095)
        let saved = try full(memory, digest: true)
        #expect(saved.image.extents == extents([(0, 3), (50, 1), (70, 1), (99, 3), (255, 1)]))
        #expect(try saved.file.status().size == memory.size)
        var data: UInt64 = 0
        try saved.file.dataRuns(size: memory.size) { data += $0.upperBound - $0.lowerBound }
        #expect(data == saved.image.byteCount && data == 9 * 4096)
        #expect(try MemoryImage.digest(of: saved.file, saved.image.extents) == saved.image.digest)
        let restored = try TestRAM.restore([try saved.layer()])
        #expect(try restored.differences(from: memory) == [])
        #expect(restored.load(at: TestRAM.address(101), as: UInt8.self) == 101, "regions lie where they lay")
    }

    @Test("RAM that nobody touched makes an image without a page")
    func untouched() throws {
        let saved = try full(try GuestMemory(ranges: [0..<64 << 30]), digest: true)
        #expect(saved.image.extents.isEmpty && saved.image.byteCount == 0)
        #expect(try saved.file.status().size == 64 << 30)
        #expect(hexString(saved.image.digest ?? []) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    }

    @Test("The digest tells images apart by their bytes, and does not depend on where a file has holes")
    func digests() throws {
        let memory = try TestRAM.make()
        try memory.fill(3, 1)
        try memory.fill(9, 2)
        let first = try full(memory, digest: true)
        let dense = try makeMemoryFile(name: "dense", size: 0)
        let copy = ByteBuffer(count: Int(memory.size))
        #expect(try first.file.readAll(into: copy.range(), at: 0) == Int(memory.size))
        try dense.writeAll(copy.range(), at: 0)
        #expect(try MemoryImage.digest(of: dense, first.image.extents) == first.image.digest)
        memory.store(UInt8(7), at: 9 * 4096 + 100)
        #expect(try full(memory, digest: true).image.digest != first.image.digest)
        try dense.resize(to: 9 * 4096 + 4095)
        #expect(throws: SystemError("memory image: shorter than its extents", .inputOutput)) {
            _ = try MemoryImage.digest(of: dense, first.image.extents)
        }
    }

    @Test("Restored RAM is private: the file keeps its bytes, clones do not see each other, and it can be saved again")
    func savedAgain() throws {
        let memory = try TestRAM.make()
        for page in 10..<40 { try memory.fill(page, UInt8(page)) }
        let saved = try full(memory)
        let first = try TestRAM.restore([try saved.layer()])
        let second = try TestRAM.restore([try saved.layer()])
        try first.fill(12, 0xaa)
        try first.fill(200, 0xbb)
        try first.fill(20, 0)
        #expect(try second.uniformByte(12) == 12 && second.uniformByte(200) == 0)
        #expect(try first.ownPages(tables.descriptor).runs == extents([(12, 1), (20, 1), (200, 1)]))
        #expect(try second.ownPages(tables.descriptor).isEmpty, "it was only read")

        let again = try full(first)
        #expect(again.image.extents == extents([(10, 10), (21, 19), (200, 1)]), "a page that became zero is gone")
        #expect(try TestRAM.restore([try again.layer()]).differences(from: first) == [])

        let own = try first.ownPages(tables.descriptor)
        let changes = try Saved { try MemoryWriter(first).writeChanges(own, to: $0) }
        #expect(changes.image.extents == extents([(12, 1), (20, 1), (200, 1)]), "there it is a page of zeros")
        #expect(try TestRAM.restore([try saved.layer(), try changes.layer()]).differences(from: first) == [])
    }

    @Test("Differences are found by comparing with the base, in either direction, and only they are written")
    func differences() throws {
        let memory = try TestRAM.make()
        for page in 0..<20 { try memory.fill(page, 5) }
        let base = try full(memory)
        try memory.fill(3, 5)  // Written with what was there.
        try memory.fill(4, 6)
        try memory.fill(5, 0)
        try memory.fill(250, 9)
        try memory.fill(249, 0)
        let basis = try TestRAM.restore([try base.layer()])
        let changes = try Saved {
            try MemoryWriter(memory).writeDifferences(from: basis.layers, to: $0, pageTables: tables.descriptor)
        }
        #expect(changes.image.extents == extents([(4, 2), (250, 1)]))
        #expect(try TestRAM.restore([try base.layer(), try changes.layer()]).differences(from: memory) == [])
    }

    @Test("Any writes, saved as a chain of layers, restore to the same bytes, and so does the flattened chain", arguments: 0..<6)
    func chains(_ seed: UInt64) throws {
        var random = Random(seed: seed)
        var memory = try TestRAM.make(tracksWrites: true)
        var layers: [MemoryLayer] = []
        for step in 0..<8 {
            for _ in 0..<random.below(60) {
                let page = random.below(TestRAM.pageCount)
                switch random.below(4) {
                case 0: try memory.fill(page, 0)
                case 1: try memory.fill(page, UInt8(1 + random.below(255)))
                case 2: memory.write([UInt8(random.below(256))], at: TestRAM.address(page) + UInt64(random.below(4096)))
                default: memory.store(random.next(), at: TestRAM.address(page) + UInt64(random.below(4089)))
                }
            }
            let saved: Saved
            if step == 0 {
                saved = try full(memory)
                _ = memory.takeWritten()
            } else if random.below(2) == 0 {
                let written = memory.takeWritten()
                saved = try Saved { try MemoryWriter(memory).writeChanges(written, to: $0) }
            } else {
                let base = try TestRAM.restore(layers)
                saved = try Saved { try MemoryWriter(memory).writeDifferences(from: base.layers, to: $0, pageTables: tables.descriptor) }
                _ = memory.takeWritten()
            }
            layers.append(try saved.layer())
            let restored = try TestRAM.restore(layers, tracksWrites: true)
            #expect(try restored.differences(from: memory) == [], "step \(step)")
            // Sometimes it is the restored machine that goes on.
            if random.below(3) == 0 { memory = restored }
        }
        let chain = layers
        let flat = try Saved { try MemoryWriter.flatten(chain, pageCount: TestRAM.pageCount, to: $0, digest: true) }
        let restored = try TestRAM.restore([try flat.layer()])
        #expect(try restored.differences(from: memory) == [])
        #expect(flat.image == (try full(memory, digest: true)).image, "as if it had been saved as a whole")
    }

    @Test("A write that fails is reported, and what is there does not look like an image")
    func failures() throws {
        let memory = try TestRAM.make()
        try memory.fill(7, 1)
        let fullDevice = try OwnedDescriptor.open("/dev/full", flags: 2)
        #expect(throws: SystemError("pwritev", .noSpace)) {
            _ = try MemoryWriter(memory).writeFull(to: fullDevice, pageTables: tables.descriptor)
        }
        // A file that cannot grow stands for every other error in the middle.
        let fixed = try makeMemoryFile(name: "fixed", size: 0)
        try fixed.seal()
        #expect(throws: SystemError.self) { _ = try MemoryWriter(memory).writeFull(to: fixed, pageTables: tables.descriptor) }
        #expect(try fixed.status().size == 0)
        let used = try makeMemoryFile(name: "used", size: 1)
        #expect(throws: SystemError("memory image: the file is not empty", .exists)) {
            _ = try MemoryWriter(memory).writeFull(to: used, pageTables: tables.descriptor)
        }
    }

    @Test("Writing ends soon after nobody wants the image any more")
    func cancellation() throws {
        let memory = try TestRAM.make()
        try memory.fill(7, 1)
        let file = try makeMemoryFile(name: "cancelled", size: 0)
        #expect(throws: SystemError("memory image", .cancelled)) {
            _ = try MemoryWriter(memory) { true }.writeFull(to: file, pageTables: tables.descriptor)
        }
        #expect(try file.status().size == 0)
    }

    @Test("Extents survive JSON, and are refused with their place when they are out of order, overlap, are empty or leave RAM")
    func json() throws {
        let list = extents([(0, 1), (1, 2), (90, 10)])
        let json = MemoryExtent.json(list)
        #expect(json == [[0, 1], [1, 2], [90, 10]])
        #expect(try MemoryExtent.read(SavedValue(json), pageCount: 100) == list)
        #expect(try MemoryExtent.read(SavedValue([]), pageCount: 100) == [])
        let bad: [(JSONValue, String)] = [
            (7, "memory"), ([7], "memory[0]"), ([[1]], "memory[0]"), ([[1, 2, 3]], "memory[0]"), ([["1", 2]], "memory[0]"),
            ([[1, 0]], "memory[0]"), ([[-1, 2]], "memory[0]"), ([[0, -1]], "memory[0]"), ([[0, 2], [1, 1]], "memory[1]"),
            ([[5, 1], [3, 1]], "memory[1]"), ([[99, 2]], "memory[0]"), ([[100, 1]], "memory[0]"),
            ([[.integer(.max), .integer(.max)]], "memory[0]"), ([[1, .integer(.max)]], "memory[0]"), ([[0, .number(1.5)]], "memory[0]"),
        ]
        for (value, path) in bad {
            do {
                _ = try MemoryExtent.read(SavedValue(value, path: JSONPath([.key("memory")])), pageCount: 100)
                Issue.record("\(value) was taken")
            } catch {
                #expect(error.path == path, "\(error)")
            }
        }
    }
}
