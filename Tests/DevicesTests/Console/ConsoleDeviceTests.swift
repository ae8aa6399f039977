import Glibc
import Host
import Schema
import TestSupport
import Testing
import Virtio
import Virtqueue

@testable import Devices

@Suite("Console device")
struct ConsoleDeviceTests {
    typealias Rings = DeviceHarness.Rings

    private func stream(_ rings: Rings = .init()) throws -> (ConsoleHarness, ConsolePeer) {
        let pair = try SocketPair()
        let peer = try ConsolePeer(pair.second)
        return (try ConsoleHarness(try .stream(pair.first), rings: rings), peer)
    }

    @Test("5.3.6 output and input pass unchanged", arguments: Rings.all)
    func echo(_ rings: Rings) throws {
        let (console, peer) = try stream(rings)
        var random = Random(seed: 40)
        try console.post(20, of: 64)
        for round in 0..<10 {
            let output = random.bytes(1 + random.below(3000))
            try console.write(output, pieces: min(output.count, 1 + random.below(4)))
            #expect(try peer.read(output.count) == output)
            let text = "line \(round)\n"
            try peer.write(text)
            #expect(try console.read(text.utf8.count) == text)
        }
    }

    @Test("A reader that is slow loses nothing: the driver waits")
    func slowReader() throws {
        let (console, peer) = try stream()
        var random = Random(seed: 41)
        // More than the device keeps and the socket holds together.
        let chunks = (0..<60).map { _ in random.bytes(32768) }
        let tokens = try chunks.map { try console.submit($0) }
        #expect(try console.harness.poll(queue: 1, try #require(tokens.last)) == nil)
        for chunk in chunks {
            let isSame = try peer.read(chunk.count) == chunk
            #expect(isSame)
        }
        for token in tokens { _ = try console.harness.wait(queue: 1, token) }
        // One chain that is longer than all that is kept.
        let large = random.bytes(300_000)
        let token = try console.submit(large)
        let isSame = try peer.read(large.count) == large
        #expect(isSame)
        _ = try console.harness.wait(queue: 1, token)
    }

    @Test("5.3.6 input waits for buffers and is not lost")
    func inputWaits() throws {
        let (console, peer) = try stream()
        try console.write("ready")
        #expect(try peer.readText(5) == "ready")
        try peer.write("hello, world")
        try console.post(2, of: 4)
        #expect(try console.read() == Array("hell".utf8))
        #expect(try console.read() == Array("o, w".utf8))
        try console.post(1, of: 100)
        #expect(try console.read(4) == "orld")
    }

    @Test("The end of input does not end output")
    func endOfInput() throws {
        let (console, peer) = try stream()
        try console.post(2, of: 16)
        try console.write("a")
        try peer.write("last")
        peer.endInput()
        #expect(try console.read(4) == "last")
        for _ in 0..<300 { try console.write("output") }
        let isSame = try peer.readText(1801) == "a" + String(repeating: "output", count: 300)
        #expect(isSame)
    }

    @Test("A client that comes late gets what was written last; one that goes makes place for the next", arguments: Rings.both)
    func lateClient(_ rings: Rings) throws {
        let socket = SocketPath("late-\(rings.format)-\(rings.isRemote)")
        let console = try ConsoleHarness(try .listener(try UnixSocket.listen(at: socket.path)), rings: rings)
        var random = Random(seed: 42)
        var written: [UInt8] = []
        for _ in 0..<40 {
            let bytes = random.bytes(4096)
            try console.write(bytes)
            written += bytes
        }
        try console.post(8, of: 64)
        do {
            let client = try ConsolePeer(try UnixSocket.connect(to: socket.path))
            let kept = try client.read(CharacterBackend.outputCapacity)
            let isNewest = kept.elementsEqual(written.suffix(CharacterBackend.outputCapacity))
            #expect(isNewest)
            try client.write("first")
            #expect(try console.read(5) == "first")
        }
        // Whatever is written while nobody is there waits for the next one. The device may notice only by writing that the first is gone.
        let second = try ConsolePeer(try UnixSocket.connect(to: socket.path))
        try second.write("second")
        #expect(try console.read(6) == "second")
        try console.write("welcome")
        #expect(try second.readText(7) == "welcome")
    }

    @Test("A client that does not read keeps nobody waiting, and then gets the newest output")
    func slowClient() throws {
        let socket = SocketPath("slow")
        let console = try ConsoleHarness(try .listener(try UnixSocket.listen(at: socket.path)))
        let client = try ConsolePeer(try UnixSocket.connect(to: socket.path))
        try console.write("begin")
        #expect(try client.readText(5) == "begin")
        for _ in 0..<200 {
            console.harness.releaseBuffers()
            try console.write([UInt8](repeating: 46, count: 32768))
        }
        let end = Array("the very end".utf8)
        try console.write(end)
        let rest = try client.read(through: end)
        #expect(rest.count < 200 * 32768)
    }

    @Test("A pseudo-terminal passes bytes unchanged, both ways, also to a program that comes late")
    func pseudoTerminal() throws {
        let pair = try PseudoTerminal(try OwnedDescriptor.open("/dev/ptmx", flags: O_RDWR | O_NOCTTY))
        let path = pair.path
        let console = try ConsoleHarness(try .pseudoTerminal(pair))
        try console.post(4, of: 64)
        // Far more than the terminal and the device hold: nobody waits.
        for _ in 0..<50 { try console.write([UInt8](repeating: 46, count: 8192)) }
        let mark = Array("\u{1}\u{3}\u{4}\r\n".utf8)
        try console.write(mark)
        let program = try ConsolePeer(try OwnedDescriptor.open(path, flags: O_RDWR | O_NOCTTY))
        #expect(try program.read(through: mark).count < 50 * 8192)
        try program.write("typed\u{3}\r")
        #expect(try console.read(7) == "typed\u{3}\r")
    }

    @Test("A file gets all output")
    func file() throws {
        let file = try temporaryFile(size: 0)
        let console = try ConsoleHarness(try .file(try file.duplicate()))
        var random = Random(seed: 43)
        var written: [UInt8] = []
        for _ in 0..<30 {
            let bytes = random.bytes(1 + random.below(20000))
            try console.write(bytes)
            written += bytes
        }
        let isSame = try file.bytes(at: 0, count: written.count + 1) == written
        #expect(isSame)
    }

    @Test("Null takes everything and gives nothing")
    func null() throws {
        let console = try ConsoleHarness(.null)
        try console.post(1, of: 64)
        for _ in 0..<50 {
            try console.write([UInt8](repeating: 0, count: 10000))
            #expect(try !console.hasInput())
        }
    }

    @Test("5.3.4 the size is told, and a new one announced")
    func size() throws {
        let console = try ConsoleHarness(.null)
        #expect(console.harness.features.contains(Features(bit: 0)))
        try console.device.controlNotify(["columns": 132, "rows": 43])
        #expect(console.harness.configuration(at: 0, as: UInt16.self) == 132)
        #expect(console.harness.configuration(at: 2, as: UInt16.self) == 43)
        #expect(console.harness.configuration(at: 4, as: UInt64.self) == 0)
        #expect(console.harness.configuration(at: Int.max, as: UInt32.self) == 0)
        #expect(console.harness.interrupts.configurationChanges == 1)
        for bad in [["columns": 80], ["columns": 80, "rows": 70000], ["columns": "80", "rows": 24], 5, [:]] as [JSONValue] {
            #expect(throws: DeviceError.self) { try console.device.controlNotify(bad) }
        }
        #expect(console.harness.configuration(at: 0, as: UInt16.self) == 132)
        #expect(console.harness.interrupts.configurationChanges == 1)
    }

    @Test("Sleep gives back buffers that hold no input yet; they are filled after waking, in another device too", arguments: Rings.both)
    func sleeps(_ rings: Rings) throws {
        let (console, peer) = try stream(rings)
        try console.post(3, of: 16)
        try console.write("x")
        try peer.write("one")
        #expect(try console.read(3) == "one")
        #expect(try console.harness.sleep())
        for queue in 0..<2 {
            let resting = try #require(console.harness.restingPosition(queue: queue))
            #expect(resting.inFlight == 0)
            #expect(resting.position.available == resting.position.used)
        }
        try peer.write("two")
        try console.harness.wake()
        #expect(try console.read(3) == "two")
        try console.device.controlNotify(["columns": 100, "rows": 30])
        #expect(try console.harness.sleep())
        let saved = console.device.snapshot()
        let pair = try SocketPair()
        let second = try ConsoleDevice(ConsoleConfiguration(label: "hvc", packedRing: true), backend: try .stream(pair.first))
        let isInactive = second.sleep() == nil
        #expect(isInactive)
        try second.restore(SavedValue(saved))
        #expect(second.snapshot() == saved)
        try console.harness.wake(second)
        #expect(console.harness.configuration(at: 0, as: UInt16.self) == 100)
        let other = try ConsolePeer(pair.second)
        try other.write("three")
        #expect(try console.read(5) == "three")
        for mutation in mutations(of: saved) {
            let error = #expect(throws: StateError.self, "\(mutation)") { try second.restore(SavedValue(mutation.document)) }
            #expect(error?.path == mutation.blamed, "\(mutation)")
        }
        #expect(second.snapshot() == saved)
    }

    @Test("5.3.6.1 chains of the wrong direction are given back and do no harm", arguments: Rings.both)
    func wrongDirection(_ rings: Rings) throws {
        let (console, peer) = try stream(rings)
        let address = console.harness.place(Array("wrong".utf8))
        let output = try console.harness.submit(queue: 1, writable: [DriverBuffer(address: address, count: 5)])
        #expect(try console.harness.wait(queue: 1, try #require(output)) == 0)
        let input = try console.harness.submit(queue: 0, readable: [DriverBuffer(address: address, count: 5)])
        #expect(try console.harness.wait(queue: 0, try #require(input)) == 0)
        try console.write("right")
        #expect(try peer.readText(5) == "right")
        #expect(!console.harness.interrupts.needsReset)
    }
}
