import Glibc
import Host

/// Disks whose process is killed while the storage still has writes of it, which land when the suite wants them to: as root, in the lab.
func heldStorageCases(_ options: Options) -> [TestCase] {
    let logs = [false, true].map { packed in
        heldCase("requests that complete out of order, \(packed ? "packed" : "split")") { storage, scratch, note in
            try killOutOfOrder(options, storage, scratch, note, packed: packed)
        }
    }
    return logs + [
        heldCase("a dead disk's write lands before it is done again") { storage, scratch, note in
            try WitnessRun(options, storage, scratch).run(note)
        }
    ]
}

private func heldCase(_ name: String, _ body: @escaping (HeldStorage, Scratch, PeerNote) throws -> Void) -> TestCase {
    TestCase(name: "kills: \(name)") { report in
        let scratch = Scratch("held")
        defer { scratch.remove() }
        do {
            let storage = try HeldStorage()
            defer { storage.end() }
            try body(storage, scratch) { report.note("kills: \(name): \($0)", nil) }
        } catch {
            let failure = error as? PeerFailure
            report.note("kills: \(name)", failure?.reason ?? "\(error)", context: failure?.context ?? [])
        }
    }
}

/// Some requests of many have completed, in whatever order, when the process dies. Without a log, nobody could tell which.
private func killOutOfOrder(
    _ options: Options, _ storage: HeldStorage, _ scratch: Scratch, _ note: PeerNote, packed: Bool
) throws {
    let disk = try DeviceService(options, "block", in: scratch, packed: packed, "path=\(storage.path)", "direct=true")
    let driver = try DiskDriver(disk.socket, packed: packed)
    // Not beside each other, or Linux would make one request of two.
    let pages = (0..<64).map { $0 * 2 }
    let rounds = options.complete ? 20 : 4
    for round in 1...rounds {
        let byte = UInt8(round)
        let slow = Set(pages.filter { ($0 / 2 * 5 + round) % 3 != 0 })
        storage.hold(Set(slow.map { UInt64($0 * DiskDriver.pageSize) }))
        try driver.write(byte, to: pages)
        let quick = try driver.finish(pages.count - slow.count)
        guard Set(quick).isDisjoint(with: slow) else { throw PeerFailure("round \(round): a write has completed that has not landed") }
        let deadline = MonotonicTime.now + peerPatience
        while storage.heldCount < slow.count {
            guard MonotonicTime.now < deadline else { throw PeerFailure("the storage has \(storage.heldCount) of \(slow.count) writes") }
            pause(milliseconds: 10)
        }
        try disk.kill(processFirst: round % 2 == 0)
        // What it has submitted is still under way: nobody else gets the image.
        let refusal = try disk.startInVain(code: 66)
        guard refusal.firstRange(of: "is locked") != nil else { throw PeerFailure("expected a locked image, found: \(refusal)") }
        storage.release()
        try disk.start()
        try driver.reconnect(disk)
        let rest = try driver.finish(slow.count)
        guard Set(rest) == slow else { throw PeerFailure("round \(round): expected pages \(slow.sorted()), found \(rest.sorted())") }
        try driver.expectNothing()
        for page in pages where storage.byte(at: UInt64(page * DiskDriver.pageSize)) != byte {
            throw PeerFailure("round \(round): page \(page) is not what was written last")
        }
    }
    note("\(rounds) kills with \(pages.count) requests, each of which completed once")
    try disk.end()
}

/// A Linux guest that writes a page, and another value to the same place as soon as the first one is done. The process of its disk dies in
/// between, with the first write on its way.
private final class WitnessRun {
    private let storage: HeldStorage
    private let vm: RunningVM
    private static let page = 5
    private static let device = "data"

    init(_ options: Options, _ storage: HeldStorage, _ scratch: Scratch) throws {
        self.storage = storage
        var file = VMFile(kernel: "\(options.guests)/6.12")
        file.isolation = "process"
        file.name = "witness"
        file.initrd = "\(options.guests)/6.12.initrd"
        file.memory = "256M"
        file.commandLine = "console=ttyS0 quiet panic=-1 swvmm.mode=script swvmm.console=hvc0 swvmm.end=pages"
        file.devices = [
            "\"id\": \"console\", \"type\": \"console\"",
            "\"id\": \"\(Self.device)\", \"type\": \"block\", \"path\": \"\(storage.path)\", \"direct\": true",
        ]
        vm = try RunningVM(swvmm: options.swvmm, configuration: scratch.write("vm.json", file.text))
    }

    deinit { vm.kill() }

    func run(_ note: PeerNote) throws {
        let place = UInt64(Self.page * DiskDriver.pageSize)
        try follow(to: "READY")
        storage.hold([place])
        try type("\(Self.page) A")
        let deadline = MonotonicTime.now + peerPatience
        while storage.heldCount == 0 {
            guard MonotonicTime.now < deadline else { throw failure("the write never came") }
            pause(milliseconds: 10)
        }
        // That one only: what comes again would not wait.
        storage.hold([])
        guard Command.shell("pkill -9 -f 'device-process \(Self.device)$'") != nil else { throw failure("the disk has no process") }
        try type("\(Self.page) B")
        // Time to do it wrong: a process that did not wait would write A again, and then B.
        pause(milliseconds: 10_000)
        let early = storage.landed(at: place)
        storage.release()
        try follow(to: "DONE A")
        try follow(to: "DONE B")
        let order = storage.landed(at: place)
        guard order == Array("AAB".utf8), storage.byte(at: place) == UInt8(ascii: "B") else {
            throw failure("expected A, A again and B, found \(String(decoding: order, as: UTF8.self)): an old write came after a newer one")
        }
        guard early.isEmpty else { throw failure("requests were done again while a dead process's write was under way") }
        try type("stop")
        while vm.nextLine(before: MonotonicTime.now + peerPatience) != nil {}
        guard vm.status == .exited(0), vm.complaints.firstRange(of: "It was started again") != nil else {
            throw failure("expected a disk that was started again, and exit code 0")
        }
        note("A, A again, B")
    }

    private func type(_ text: String) throws {
        guard vm.type("\(text)\n") else { throw failure("the console takes no input") }
    }

    private func follow(to wanted: String) throws {
        let deadline = MonotonicTime.now + peerPatience
        while let line = vm.nextLine(before: deadline) { if line == wanted { return } }
        throw failure("waited for '\(wanted)'")
    }

    private func failure(_ reason: String) -> PeerFailure {
        PeerFailure(reason, context: vm.history.suffix(10) + lines(vm.complaints))
    }
}
