import Glibc
import Host
import Schema
import TestSupport
import Testing
import Virtqueue

@testable import Supervisor

@Suite("Disks on the command line")
struct DiskToolTests {
    /// A directory that goes with the test.
    private final class Place {
        let path: String
        init() throws {
            path = "/tmp/swvmm-disks-\(UInt64.random(in: 0..<1 << 60))"
            guard unsafe mkdir(path, 0o700) == 0 else { throw VMError(.resource, "\(path): mkdir failed") }
        }
        deinit {
            for name in ["a", "b", "c"] { unsafe unlink("\(path)/\(name)") }
            unsafe rmdir(path)
        }

        /// A file with these bytes, and as large as `size` says.
        func file(_ name: String, _ bytes: [UInt8], size: Int) throws -> String {
            let file = try OwnedDescriptor.open("\(path)/\(name)", flags: O_RDWR | O_CREAT, mode: 0o600)
            try file.resize(to: UInt64(size))
            let memory = try MemoryMapping(anonymous: max(bytes.count, 1))
            memory.range.copy(from: bytes.span)
            try file.writeAll(memory.range.slice(from: 0, count: bytes.count), at: 0)
            return "\(path)/\(name)"
        }

        func bytes(_ name: String) throws -> [UInt8] {
            let file = try OwnedDescriptor.open("\(path)/\(name)", flags: O_RDONLY)
            let size = Int(try file.status().size)
            let memory = try MemoryMapping(anonymous: max(size, 1))
            try file.readAll(into: memory.range.slice(from: 0, count: size), at: 0)
            var bytes = [UInt8](repeating: 0, count: size)
            var span = bytes.mutableSpan
            memory.range.copy(to: &span)
            return bytes
        }
    }

    /// Bytes that differ from sector to sector.
    private static func random(_ count: Int, seed: UInt64) -> [UInt8] {
        var random = SeededRandom(seed: seed)
        // A prime number of them, again and again.
        let some = (0..<4099).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        while bytes.count < count { bytes.append(contentsOf: some.prefix(count - bytes.count)) }
        return bytes
    }

    @Test("a copy is the same, and zeros take no storage")
    func copy() throws {
        let place = try Place()
        let size = 21 << 20
        var data = Self.random(5 << 20, seed: 1)
        data += [UInt8](repeating: 0, count: 12 << 20) + Self.random((4 << 20) - 512, seed: 2)
        let source = try place.file("a", data, size: size - 512)
        try DiskFiles.makeImage("\(place.path)/b", size: UInt64(size - 512))
        var reports: [UInt64] = []
        let outcome = try DiskCopy(
            from: DiskReach.file(source).open(readOnly: true), to: DiskReach.file("\(place.path)/b").open(readOnly: false)
        ).run { reports.append($0) }
        #expect(outcome == DiskCopy.Outcome(bytes: UInt64(size - 512), zeros: 12 << 20))
        #expect(try place.bytes("b") == data)
        #expect(reports == reports.sorted() && reports.last == UInt64(size - 512))
    }

    @Test("any part of a disk can be read", arguments: [(0, 8 << 20), (1, 1), (511, 2), (513, 3 << 20), ((8 << 20) - 1, 1), (1000, 0)])
    func read(_ offset: Int, _ count: Int) throws {
        let place = try Place()
        let data = Self.random(8 << 20, seed: 3)
        let disk = try DiskReach.file(try place.file("a", data, size: data.count)).open(readOnly: true)
        do {
            let output = try DiskFiles.create("\(place.path)/c")
            try disk.read(from: UInt64(offset), length: UInt64(count), to: output)
        }
        #expect(try place.bytes("c") == Array(data[offset..<offset + count]))
    }

    @Test("what does not fill a sector leaves the rest of it", arguments: [0, 1, 511, 512, 513, (9 << 20) + 77])
    func write(_ count: Int) throws {
        let place = try Place()
        let (old, new) = (Self.random(12 << 20, seed: 4), Self.random(count, seed: 5))
        let disk = try DiskReach.file(try place.file("a", old, size: old.count)).open(readOnly: false)
        let input = try DiskFiles.open(try place.file("b", new, size: count))
        #expect(try disk.write(at: 1024, from: input) == UInt64(count))
        #expect(try place.bytes("a") == Array(old[..<1024]) + new + Array(old[(1024 + count)...]))
    }

    @Test("what cannot be done is said, with the code of whose fault it is")
    func refused() throws {
        let place = try Place()
        let path = try place.file("a", [], size: 4096)
        func code(_ body: () throws -> Void) -> ExitCode? {
            do { try body() } catch { return (error as? VMError)?.code }
            return nil
        }
        #expect(code { _ = try DiskReach.file("\(place.path)/none").open(readOnly: true) } == .resource)
        #expect(code { _ = try DiskReach.file(place.path).open(readOnly: true) } == .resource)
        #expect(code { _ = try DiskReach.vhostUser(path).open(readOnly: true) } == .resource)
        #expect(code { _ = try DiskReach.file(try place.file("b", [], size: 100)).open(readOnly: true) } == .resource)
        #expect(code { try DiskFiles.makeImage(path, size: 1) } == .resource)
        let disk = try DiskReach.file(path).open(readOnly: false)
        // It is locked: writable images have one user.
        #expect(code { _ = try DiskReach.file(path).open(readOnly: false) } == .resource)
        let input = try DiskFiles.open(try place.file("c", Self.random(8192, seed: 6), size: 8192))
        #expect(code { _ = try disk.write(at: 100, from: input) } == .usage)
        #expect(code { _ = try disk.write(at: 8192, from: input) } == .usage)
        #expect(code { try disk.read(from: 4096, length: 1, to: input) } == .usage)
    }

    @Test("durations are found again to within an eighth")
    func histogram() {
        var random = SeededRandom(seed: 9)
        for _ in 0..<1000 {
            let value = random.next() >> UInt64(random.below(60))
            var one = LatencyHistogram()
            one.add(value)
            let found = one.value(at: 0.5)
            #expect(found >= value && found - value <= value / 8 + 1)
        }
        var many = LatencyHistogram()
        for value in 1...1000 { many.add(UInt64(value)) }
        #expect((500...576).contains(many.value(at: 0.5)) && (990...1151).contains(many.value(at: 0.99)))
    }
}
