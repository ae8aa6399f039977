import Glibc
import Host

/// A Linux guest of QEMU's on devices of ours.
struct PeerGuestRun {
    private static let transferSize = 4 << 20
    private let options: Options
    private let scratch: Scratch
    private let note: PeerNote
    private let packed: Bool
    /// Where the host offers the transfer; what comes back is taken one above. Suites that run at once have ports of their own.
    private let port = 20000 + Int(getpid()) % 5000 * 2

    init(_ options: Options, _ scratch: Scratch, _ note: @escaping PeerNote, packed: Bool) throws {
        (self.options, self.scratch, self.note, self.packed) = (options, scratch, note, packed)
        let prepared = "truncate -s 24M disk.img && head -c \(Self.transferSize) /dev/urandom >transfer"
        guard Command.shell("cd \(scratch.path) && \(prepared)") != nil else { throw PeerFailure("failed: \(prepared)") }
    }

    private func words(_ checks: [String], writers: Int) -> String {
        "swvmm.checks=\(checks.joined(separator: ",")) swvmm.writers=\(writers) swvmm.packed=\(packed ? 1 : 0) swvmm.port=\(port)"
    }

    private var ring: String { "packed=\(packed ? "on" : "off")" }

    /// Disk, entropy and network do their work.
    func useEverything() throws {
        let disk = try DeviceService(options, "block", in: scratch, packed: packed, "path=\(scratch.path)/disk.img")
        let entropy = try DeviceService(options, "rng", in: scratch, packed: packed)
        let network = try DeviceService(options, "net", in: scratch, packed: packed, "backend=user")
        let peers = try transferPeers()
        // With MSI-X, QEMU 7.2 crashes when Linux starts the interface.
        let devices =
            EmulatedGuest.device(disk, id: "disk", "vhost-user-blk-pci,\(ring)")
            + EmulatedGuest.device(entropy, id: "rng", "vhost-user-rng-pci,\(ring)") + [
                "-chardev", "socket,id=net,path=\(network.socket)", "-netdev", "vhost-user,id=net,chardev=net",
                "-device", "virtio-net-pci,netdev=net,vectors=0,\(ring)",
            ]
        let checks = ["rings", "entropy", "zeroes", "net"]
        let guest = try EmulatedGuest(options, devices: devices, words: words(checks, writers: 2))
        for check in checks {
            try guest.follow(to: "check \(check)", answer: answer) { guest.checks[check] != nil }
            let found = guest.checks[check] ?? ""
            guard found == "ok" else { throw PeerFailure("\(check): \(found)", context: disk.condition + network.condition) }
            note(check)
        }
        try guest.follow(to: "8 rounds of each writer") { (0..<2).allSatisfy { guest.rounds[$0, default: 0] >= 8 } }
        try finish(guest)
        try end([disk, entropy, network])
        withExtendedLifetime(peers) {}
    }

    /// The disk's processes are killed again and again; requests that were in flight must be done by those that follow.
    func killDisk(times: Int) throws {
        let writers = 4
        // Past the host's page cache requests take long enough for a kill to find some.
        let path = "path=\(scratch.path)/disk.img"
        let disk = try DeviceService(options, "block", in: scratch, packed: packed, path, "direct=true", "queues=2")
        let front = EmulatedGuest.device(disk, id: "disk", reconnects: true, "vhost-user-blk-pci,num-queues=2,\(ring)")
        let guest = try EmulatedGuest(options, cpus: 2, devices: front, words: words(["rings"], writers: writers))
        func expectProgress(_ when: String) throws {
            try guest.catchUp()
            let (before, flushes) = (guest.rounds, guest.flushes)
            do {
                try guest.follow(to: "rounds of all writers, and flushes, \(when)") {
                    (0..<writers).allSatisfy { guest.rounds[$0, default: 0] >= before[$0, default: 0] + 2 } && guest.flushes >= flushes + 2
                }
                try disk.expectAlive()
            } catch let failure as PeerFailure {
                throw PeerFailure(failure.reason, context: failure.context + disk.condition)
            }
        }
        try expectProgress("at the beginning")
        guard guest.checks["rings"] == "ok" else { throw PeerFailure("rings: \(guest.checks["rings"] ?? "unknown")") }
        for kill in 1...times {
            try disk.killAndStart(processFirst: kill % 2 == 0, after: UInt32(kill * 731 % 4000))
            try expectProgress("after kill \(kill)")
        }
        note("\(times) kills")
        try finish(guest)
        try end([disk])
    }

    /// Ends the guest, and compares what it wrote with the image.
    private func finish(_ guest: EmulatedGuest) throws {
        try guest.finish()
        for (slot, sum) in guest.sums {
            let read = "dd if=\(scratch.path)/disk.img bs=256k skip=\(slot) count=1 status=none"
            let found = Command.shell("\(read) | sha256sum | cut -d ' ' -f 1")
            guard found == sum else { throw PeerFailure("slot \(slot): the guest says \(sum), the image \(found ?? "nothing")") }
        }
        // A writer goes from slot to slot, round by round, and has eight.
        let slots = guest.rounds.values.reduce(0) { $0 + min($1, 8) }
        guard slots > 0, guest.sums.count == slots else { throw PeerFailure("expected sums of \(slots) slots, found \(guest.sums.count)") }
        note("image: checksums of \(guest.sums.count) slots")
    }

    private func end(_ services: [DeviceService]) throws {
        for service in services { try service.end() }
        note("the devices end well")
    }

    // MARK: The transfer

    private func transferPeers() throws -> [TransferPeer] {
        [
            try TransferPeer("-U", port: port, "OPEN:\(scratch.path)/transfer"),
            try TransferPeer("-u", port: port + 1, "OPEN:\(scratch.path)/back,creat,trunc"),
        ]
    }

    private func answer(to question: String) -> String {
        // The last bytes may still be on their way.
        let same = "cmp -s transfer back"
        let wait = "cd \(scratch.path) && for i in $(seq 100); do \(same) && exec echo whole; sleep 0.1; done; echo not whole"
        return question == "returned" ? Command.shell(wait) ?? "" : "?"
    }
}

/// Somebody on the host whom a guest can connect to: gives or takes a file.
private final class TransferPeer {
    private let process: ChildProcess

    init(_ direction: String, port: Int, _ file: String) throws(SystemError) {
        process = try ChildProcess(
            path: findProgram("socat") ?? "/usr/bin/socat",
            arguments: ["socat", direction, "-b", "262144", "TCP-LISTEN:\(port),bind=127.0.0.1,reuseaddr,fork", file])
    }
}
