import Host
import Testing
import Virtqueue

@Suite("Memory, page tables and digests")
struct MemoryTests {
    private func runs(of range: HostRange, asksKernel: Bool) throws -> [Range<Int>] {
        var runs: [Range<Int>] = []
        try OwnedDescriptor.pageTables().ownPages(of: range, asksKernel: asksKernel) { first, count in
            if let last = runs.last, last.upperBound == first {
                runs[runs.count - 1] = last.lowerBound..<first + count
            } else {
                runs.append(first..<first + count)
            }
        }
        return runs
    }

    @Test("Page tables tell which anonymous pages were touched, in one way and in the other", arguments: [true, false])
    func anonymous(asksKernel: Bool) throws {
        let memory = try MemoryMapping(guestMemory: 40000 * 4096, hugePagesFrom: .max)
        #expect(try runs(of: memory.range, asksKernel: asksKernel) == [])
        var touched: [Range<Int>] = []
        // More runs than one call of the kernel reports, and one across the end of what the other way reads at once.
        for page in stride(from: 3, to: 8000, by: 8) { touched.append(page..<page + 2) }
        touched += [32760..<32780, 39999..<40000]
        for run in touched { for page in run { memory.range.store(UInt8(1), at: page * 4096 + 5) } }
        #expect(try runs(of: memory.range, asksKernel: asksKernel) == touched)
        let part = memory.range.slice(from: 32770 * 4096, count: 4096 * 20)
        #expect(try runs(of: part, asksKernel: asksKernel) == [0..<10])
        #expect(throws: SystemError.self) { _ = try runs(of: memory.range.slice(from: 1, count: 4096), asksKernel: asksKernel) }
    }

    @Test("Of a private mapping of a file, the pages that were written are this process's own", arguments: [true, false])
    func privateFile(asksKernel: Bool) throws {
        let file = try makeMemoryFile(name: "test", size: 16 * 4096)
        let content = try MemoryMapping(file, count: 16 * 4096)
        for page in 0..<16 { content.range.store(UInt8(page + 1), at: page * 4096) }
        let memory = try MemoryMapping(guestMemory: 64 * 4096, hugePagesFrom: .max)
        try memory.place(file, from: 4 * 4096, at: 8 * 4096, count: 8 * 4096)
        try memory.populate(at: 8 * 4096, count: 8 * 4096)
        for page in 0..<8 { #expect(memory.range.load(at: (8 + page) * 4096, as: UInt8.self) == UInt8(page + 5)) }
        #expect(try runs(of: memory.range, asksKernel: asksKernel) == [])
        memory.range.store(UInt8(99), at: 10 * 4096)
        memory.range.store(UInt8(0), at: 15 * 4096 + 4095)
        memory.range.store(UInt8(1), at: 16 * 4096)
        #expect(try runs(of: memory.range, asksKernel: asksKernel) == [10..<11, 15..<17])
        #expect(content.range.load(at: 6 * 4096, as: UInt8.self) == 7, "the file keeps its bytes")
    }

    @Test("Files are placed on whole pages inside the memory and nowhere else")
    func badPlaces() throws {
        let file = try makeMemoryFile(name: "test", size: 8192)
        let memory = try MemoryMapping(guestMemory: 4 * 4096)
        let places: [(Int, Int, Int)] = [
            (0, 0x4000, 4096), (0, 0, 0x5000), (0, 1, 4096), (1, 0, 4096), (0, 0, 100), (0, 0, 0), (0, -4096, 4096),
        ]
        for (from, at, count) in places {
            #expect(throws: SystemError("mmap", .invalidArgument)) { try memory.place(file, from: UInt64(from), at: at, count: count) }
        }
    }

    @Test("Ranges of zeros are told from others, whatever their length and wherever the byte is")
    func zeros() throws {
        let memory = try MemoryMapping(anonymous: 8192)
        for count in [0, 1, 7, 8, 9, 100, 4096] {
            let range = memory.range.slice(from: 3, count: count)
            #expect(range.isZero)
            for place in Set([0, 1, 7, 8, count / 2, count - 1]) where place >= 0 && place < count {
                range.store(UInt8(0x80), at: place)
                #expect(!range.isZero, "\(count) bytes, \(place)")
                #expect(!range.hasSameBytes(as: memory.range.slice(from: 4099, count: count)))
                range.store(UInt8(0), at: place)
            }
            #expect(range.hasSameBytes(as: memory.range.slice(from: 4000, count: count)))
            #expect(!range.hasSameBytes(as: memory.range.slice(from: 4000, count: count + 1)))
        }
    }

    @Test("SHA-256 gives the digests of FIPS 180-4, in pieces as in one")
    func sha256() throws {
        let cases: [(String, String)] = [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            ),
        ]
        for (text, expected) in cases {
            var whole = SHA256()
            whole.update(Array(text.utf8).span.untyped)
            #expect(hexString(whole.finish()) == expected)
            var pieces = SHA256()
            for byte in text.utf8 { pieces.update([byte].span.untyped) }
            #expect(hexString(pieces.finish()) == expected)
        }
        var million = SHA256()
        let memory = try MemoryMapping(anonymous: 10000)
        memory.range.fill(0x61)
        for _ in 0..<100 { million.update(memory.range) }
        #expect(hexString(million.finish()) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    @Test("Data and holes of a file are told apart; whole reads end at its end")
    func holes() throws {
        let file = try makeMemoryFile(name: "test", size: 100 * 4096)
        let memory = try MemoryMapping(anonymous: 3 * 4096)
        memory.range.fill(7)
        try file.writeAll(memory.range, at: 10 * 4096)
        try file.writeAll(memory.range.slice(from: 0, count: 4096), at: 99 * 4096)
        var runs: [Range<UInt64>] = []
        try file.dataRuns(size: 100 * 4096) { runs.append($0) }
        let expected: [Range<UInt64>] = [0xa000..<0xd000, 0x63000..<0x64000]
        #expect(runs == expected)
        #expect(try file.readAll(into: memory.range, at: 99 * 4096 + 100) == 3996)
        let reader = try OwnedDescriptor.open("/dev/full", flags: 2)
        #expect(throws: SystemError("pwritev", .noSpace)) { try reader.writeAll(memory.range, at: 0) }
    }
}
