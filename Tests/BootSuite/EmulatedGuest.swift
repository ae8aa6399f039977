import Glibc
import Host

/// QEMU, which emulates a machine whose devices are ours: a Linux guest that runs `guest-peers.sh`, or what a disk boots.
final class EmulatedGuest {
    static let program = "qemu-system-x86_64"

    private let machine: RunningVM
    /// How many rounds each writer has ended.
    private(set) var rounds: [Int: Int] = [:]
    /// How often the disk was flushed.
    private(set) var flushes = 0
    /// What the guest found, by check.
    private(set) var checks: [String: String] = [:]
    /// The checksums of what the writers wrote last, by slot.
    private(set) var sums: [Int: String] = [:]
    private var isOver = false

    /// Starts QEMU with `devices`, which are its arguments. `words` are for the guest's kernel command line; nil: without a kernel.
    init(_ options: Options, cpus: Int = 1, devices: [String], words: String?) throws {
        // Its memory must be shared with the devices' processes. One thread emulates all processors: several would run code that Linux is
        // patching.
        var arguments = [
            "-machine", "q35,memory-backend=ram", "-accel", "tcg,thread=single", "-cpu", "max,la57=off", "-smp", "\(cpus)", "-m", "256",
            "-object", "memory-backend-memfd,id=ram,size=256M,share=on", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-serial", "stdio",
        ]
        if let words {
            // What the lab says to its kernel, and for the same reasons.
            let quick = "nokaslr mitigations=off rodata=off cryptomgr.notests lsm= audit=0 tsc=reliable no_timer_check lpj=4000000"
            arguments += [
                "-kernel", "\(options.guests)/peers", "-initrd", "\(options.guests)/peers.initrd", "-append",
                "console=ttyS0 panic=-1 quiet \(quick) swvmm.mode=script swvmm.console=ttyS0 \(words)",
            ]
        }
        machine = try RunningVM(program: findProgram(Self.program) ?? Self.program, arguments: arguments + devices)
    }

    /// What QEMU is told of a front-end whose back-end is `service`, and whose device it is. With `reconnects` it comes again when the
    /// back-end has gone.
    static func device(_ service: DeviceService, id: String, reconnects: Bool = false, _ device: String) -> [String] {
        [
            "-chardev", "socket,id=\(id),path=\(service.socket)\(reconnects ? ",reconnect=1" : "")",
            "-device", "\(device),chardev=\(id)",
        ]
    }

    /// Listens to the guest until `isDone`.
    func follow(to what: String, answer: (String) -> String = { _ in "" }, until isDone: () -> Bool) throws {
        let deadline = MonotonicTime.now + peerPatience
        while !isDone() {
            guard let line = machine.nextLine(before: deadline) else {
                throw failure("waited for \(what), and \(machine.status.map { "QEMU \($0)" } ?? "it did not come")")
            }
            try take(line, answer)
        }
    }

    /// Takes what the guest has said up to now.
    func catchUp() throws {
        while let line = machine.nextLine(before: MonotonicTime.now + 10) { try take(line) { _ in "" } }
    }

    /// Tells the writers to stop, and listens until the machine is off.
    func finish() throws {
        guard machine.type("stop\n") else { throw failure("the guest's serial port takes no input") }
        try waitForEnd(code: 0)
        guard isOver else { throw failure("expected the guest's last word") }
    }

    /// Waits until QEMU has ended with this code; what came from its serial port meanwhile.
    @discardableResult
    func waitForEnd(code: Int32) throws -> [String] {
        let deadline = MonotonicTime.now + peerPatience
        var said: [String] = []
        while let line = machine.nextLine(before: deadline) {
            said.append(line)
            try take(line) { _ in "" }
        }
        guard machine.status == .exited(code) else {
            throw failure("expected QEMU's exit code \(code), and \(machine.status.map { "it \($0)" } ?? "it still runs")")
        }
        return said
    }

    private func take(_ line: String, _ answer: (String) -> String) throws {
        let words = line.split(separator: " ").map(String.init)
        switch words.first {
        case "CHECK" where words.count >= 3: checks[words[1]] = words[2] == "ok" ? "ok" : words[3...].joined(separator: " ")
        case "HOST" where words.count == 2:
            if !machine.type("\(answer(words[1]))\n") { throw failure("the guest's serial port takes no input") }
        case "ROUND" where words.count == 3: rounds[Int(words[1]) ?? -1] = Int(words[2])
        case "FLUSH" where words.count == 2: flushes = Int(words[1]) ?? 0
        case "SUM" where words.count == 3: sums[Int(words[1]) ?? -1] = words[2]
        case "BAD": throw failure(line)
        case "END": isOver = true
        default: break
        }
    }

    private func failure(_ reason: String) -> PeerFailure {
        PeerFailure(reason, context: machine.history.suffix(15) + lines(machine.complaints, last: 8).map { "QEMU: \($0)" })
    }
}
