import Glibc
import Host
import Virtqueue

/// Our own driver's side against our own devices: the payload `driver` drives a disk, a read-only disk, an entropy source, a console and a
/// network with `VirtQueue`, over each transport and with each combination of ring features. This is the host's half of its checks: it made
/// the disks, is at the other end of console and network, and looks at the disks afterwards.
func driverCases(_ options: Options) -> [TestCase] {
    let isolations = options.isolation.map { [$0] } ?? ["none", "process"]
    // 65536 requests take a minute where each of the guest's instructions is emulated.
    let wraps = options.complete || environmentVariable("SWVMM_LAB") != nil
    var cases: [TestCase] = []
    for isolation in isolations {
        for transport in ["mmio", "pci"] {
            for bits in 0..<8 {
                cases.append(driverCase(options, DriverRun(transport: transport, isolation: isolation, bits: bits, turns: 0)))
            }
            if wraps { cases.append(driverCase(options, DriverRun(transport: transport, isolation: isolation, bits: 2, turns: 65600))) }
        }
    }
    return cases
}

/// What one run of the payload is about.
private struct DriverRun {
    var transport: String
    var isolation: String
    /// 1: packed rings, 2: EVENT_IDX, 4: indirect tables.
    var bits: Int
    /// Further requests to the entropy source: more than a 16-bit index counts, to get past its wrap.
    var turns: Int

    var isPacked: Bool { bits & 1 != 0 }
    var hasEventIndex: Bool { bits & 2 != 0 }
    var isIndirect: Bool { bits & 4 != 0 }

    var name: String {
        let features = [isPacked ? "packed" : "split"] + (isIndirect ? ["indirect"] : []) + (hasEventIndex ? ["event index"] : [])
        let what = (["driver: \(transport)"] + features + (turns > 0 ? ["past the wrap"] : [])).joined(separator: ", ")
        return "\(what), isolation \(isolation)"
    }

    /// A device in a process of its own announces itself with an interrupt.
    var isQuiet: Bool { isolation == "none" }
    /// How many checks the payload makes.
    var count: Int { 23 + (isQuiet ? 5 : 0) + (turns > 0 ? 1 : 0) }

    var commandLine: String {
        "packed=\(isPacked ? 1 : 0) indirect=\(isIndirect ? 1 : 0) event=\(hasEventIndex ? 1 : 0) turns=\(turns) quiet=\(isQuiet ? 1 : 0)"
    }

    /// What the payload must have found right, at least; and that nothing else was wrong.
    var lines: [String] {
        [
            "ok block: id", "ok block: write, flush and read", "ok block: a write is refused", "ok block: an interrupt",
            "ok entropy: 64 bytes", "ok console: echo", "ok network: a frame and its answer", "ok all buffers and pages given back",
            "\(count) passed, 0 failed",
        ] + (turns > 0 ? ["ok entropy: many requests"] : [])
    }
}

private struct DriverFailure: Error {
    let reason: String
}

private func driverCase(_ options: Options, _ run: DriverRun) -> TestCase {
    TestCase(name: run.name) { report in
        let scratch = Scratch("driver")
        defer { scratch.remove() }
        var said: [String] = []
        var complaints = ""
        do {
            let disks = DriverDisks(scratch)
            var vm = VMFile(kernel: "\(options.payloads)/driver")
            vm.name = "driver"
            vm.memory = "128M"
            vm.commandLine = run.commandLine
            vm.transport = run.transport
            vm.isolation = run.isolation
            vm.serial = "\"stdio\""
            vm.extra = ["\"debugExit\": true"]
            let packed = "\"packedRing\": \(run.isPacked)"
            vm.devices = [
                "\"id\": \"driver-disk\", \"type\": \"block\", \"path\": \(quote(disks.disk)), \(packed)",
                "\"id\": \"driver-disk-2\", \"type\": \"block\", \"path\": \(quote(disks.readOnly)), \"readOnly\": true, \(packed)",
                "\"id\": \"entropy\", \"type\": \"rng\", \(packed)",
                "\"id\": \"network\", \"type\": \"net\", \"backend\": { \"stream\": \(quote(scratch.path + "/net")) }, \(packed)",
                "\"id\": \"console\", \"type\": \"console\", \"backend\": { \"socket\": \(quote(scratch.path + "/hvc0")) }, \(packed)",
            ]
            let network = try DriverNetworkPeer(listeningAt: scratch.path + "/net")
            let console = DriverConsolePeer(path: scratch.path + "/hvc0")
            let machine = try RunningVM(swvmm: options.swvmm, configuration: scratch.write("vm.json", vm.text))
            defer { machine.kill() }
            // In a lab on a busy machine, starting six processes alone takes half a minute.
            let deadline = MonotonicTime.now + 300_000
            while machine.status == nil, MonotonicTime.now < deadline {
                while let line = machine.nextLine(before: MonotonicTime.now + 3) { said.append(line) }
                try network.serve()
                try console.serve()
            }
            while let line = machine.nextLine(before: MonotonicTime.now) { said.append(line) }
            complaints = machine.complaints
            guard machine.status == .exited(0) else {
                throw DriverFailure(reason: "expected exit code 0, found \(machine.status.map { "\($0)" } ?? "none in time")")
            }
            if let missing = run.lines.first(where: { !said.contains($0) }) { throw DriverFailure(reason: "expected '\(missing)'") }
            guard complaints.isEmpty else { throw DriverFailure(reason: "expected no complaint") }
            try disks.check()
            try network.check()
            try console.check()
            report.note(run.name, nil)
        } catch let failure as DriverFailure {
            report.note(run.name, failure.reason, context: said + lines(complaints))
        } catch {
            report.note(run.name, "\(error)", context: said + lines(complaints))
        }
    }
}

/// Bytes that follow from a number, the same in the payload.
private func pattern(_ number: Int, _ index: Int, seed: Int) -> UInt8 { UInt8(truncatingIfNeeded: index * 7 + number * 31 + seed * 101) }

/// The disks: 64 sectors with the pattern of seed 0, of which the payload writes those of `written` with seed 1.
private struct DriverDisks {
    private static let sectors = 64
    private static let written = 16..<20

    let disk: String
    let readOnly: String

    init(_ scratch: Scratch) {
        (disk, readOnly) = (scratch.path + "/disk", scratch.path + "/read-only")
        for path in [disk, readOnly] {
            if let file = try? OwnedDescriptor.open(path, flags: OpenFlags.replace, mode: 0o600) {
                _ = try? file.write(Self.image { _ in 0 }.span.untyped)
            }
        }
    }

    private static func image(seed: (Int) -> Int) -> [UInt8] {
        (0..<sectors * 512).map { pattern($0 / 512, $0 % 512, seed: seed($0 / 512)) }
    }

    func check() throws {
        guard try readWholeFile(disk, limit: 1 << 20) == Self.image(seed: { Self.written.contains($0) ? 1 : 0 }) else {
            throw DriverFailure(reason: "the disk has other bytes than the payload wrote")
        }
        guard try readWholeFile(readOnly, limit: 1 << 20) == Self.image(seed: { _ in 0 }) else {
            throw DriverFailure(reason: "the read-only disk has changed")
        }
    }
}

/// The other end of the network: answers each frame with one to its sender, its bytes behind the header plus one.
private final class DriverNetworkPeer {
    private static let headerSize = 14
    private static let prefixSize = 4

    private let listener: OwnedDescriptor
    private var peer: ByteStream?
    private var socket: OwnedDescriptor?
    private var input: [UInt8] = []
    private var frames = 0

    init(listeningAt path: String) throws(SystemError) {
        listener = try UnixSocket.listen(at: path)
        try listener.setNonBlocking()
    }

    func serve() throws {
        if peer == nil, let connection = try? UnixSocket.accept(on: listener) {
            peer = try ByteStream(try connection.duplicate())
            socket = consume connection
        }
        guard let peer else { return }
        peer.fill()
        input += peer.takeBytes()
        while let frame = takeFrame() { try answer(frame) }
    }

    /// Behind its length, most significant byte first.
    private func takeFrame() -> [UInt8]? {
        guard input.count >= Self.prefixSize else { return nil }
        let size = input[..<Self.prefixSize].reduce(0) { $0 << 8 | Int($1) }
        guard input.count >= Self.prefixSize + size else { return nil }
        defer { input.removeFirst(Self.prefixSize + size) }
        return Array(input[Self.prefixSize..<Self.prefixSize + size])
    }

    private func answer(_ frame: [UInt8]) throws {
        let isRight =
            frame.count == 60 + 500 * frames && frame[..<6].allSatisfy { $0 == 0xff } && frame[12] == 0x88 && frame[13] == 0xb5
            && (Self.headerSize..<frame.count).allSatisfy { frame[$0] == pattern(frames, $0, seed: 2) }
        guard isRight else { throw DriverFailure(reason: "frame \(frames) of the payload, \(frame.count) bytes, is wrong") }
        frames += 1
        let reply = frame[6..<12] + [2, 0, 0, 0, 0, 1] + frame[12..<14] + frame[Self.headerSize...].map { $0 &+ 1 }
        let message = (0..<Self.prefixSize).map { UInt8(truncatingIfNeeded: reply.count >> (24 - 8 * $0)) } + reply
        _ = try socket?.send(message.span.untyped)
    }

    func check() throws {
        guard frames == 2 else { throw DriverFailure(reason: "expected 2 frames, found \(frames)") }
    }
}

/// The other end of the console: waits for the greeting, sends a line, and wants it back.
private final class DriverConsolePeer {
    private static let greeting = "hello from a driver"
    private static let line = "there and back again"

    private let path: String
    private var stream: ByteStream?
    private var heard: [String] = []

    init(path: String) { self.path = path }

    func serve() throws {
        if stream == nil, let socket = try? UnixSocket.connect(to: path) { stream = try ByteStream(socket) }
        guard let stream else { return }
        stream.fill()
        while let line = stream.takeLine() {
            heard.append(line)
            if line == Self.greeting, !stream.write(Self.line + "\n") { throw DriverFailure(reason: "the console takes no input") }
        }
    }

    func check() throws {
        stream?.fill()
        while let line = stream?.takeLine() { heard.append(line) }
        guard heard == [Self.greeting, Self.line] else { throw DriverFailure(reason: "the console said \(heard)") }
    }
}
