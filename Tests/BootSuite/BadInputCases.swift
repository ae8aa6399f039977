import Glibc
import Host
import Virtqueue

/// One thing that can be wrong, and what swvmm must say to it.
struct BadInput {
    /// Who runs swvmm, and what is taken from it.
    enum Setting: Equatable {
        case plain
        /// As root, but without root's powers over files and networks.
        case powerless
        /// As a user who owns nothing and is in no group.
        case stranger
        /// In a mount namespace of its own, after these commands.
        case without(String)
    }

    let name: String
    /// The exit code (Docs/exit-codes.md).
    let code: Int32
    /// What the sentence must contain: the file or JSON path, and what was expected.
    let says: [String]
    /// Shell commands that make the files it takes, in the case's directory.
    var files = ""
    var setting = Setting.plain
    /// Whether the suite holds a lock on `disk.img` meanwhile.
    var locksDisk = false
    /// A program that runs meanwhile and makes `peer.sock`, as words of a command; `swvmm` stands for ours.
    var peer: [String] = []
    /// The configuration, made from one that works.
    let document: (VMFile) -> String
}

func badInputCases(_ options: Options) -> [TestCase] {
    BadInput.all(options).map { input in
        TestCase(name: "bad input: \(input.name)") { report in BadInputRun(input, options).run(report) }
    }
}

struct BadInputRun {
    private let input: BadInput
    private let options: Options

    init(_ input: BadInput, _ options: Options) { (self.input, self.options) = (input, options) }

    func run(_ report: Report) {
        let scratch = Scratch("bad")
        defer { scratch.remove() }
        let program = Scratch("program")
        defer { program.remove() }
        let isRoot = Command.shell("id -u") == "0"
        _ = Command.shell(
            "chmod 755 \(scratch.path); cp \(options.payloads)/hello \(scratch.path)/kernel; chmod 644 \(scratch.path)/kernel")
        if Command.shell("cd \(scratch.path) && truncate -s 1M disk.img && \(input.files.isEmpty ? "true" : input.files)") == nil {
            return report.note("bad input: \(input.name)", "cannot make its files: \(input.files)")
        }
        var vm = VMFile(kernel: "kernel")
        vm.memory = "64M"
        vm.commandLine = "exit=0"
        vm.extra = ["\"debugExit\": true"]
        let text = input.document(vm)
        if text != "(none)" { scratch.write("vm.json", text) }
        var lock: OwnedDescriptor?
        if input.locksDisk {
            lock = try? OwnedDescriptor.open("\(scratch.path)/disk.img", flags: OpenFlags.readWrite)
            _ = try? lock?.lockFile(exclusive: true)
        }
        let peer: RunningVM?
        do throws(PeerFailure) { peer = try startPeer(scratch) } catch {
            return report.note("bad input: \(input.name)", error.reason, context: error.context)
        }
        defer { peer?.kill() }
        let before = surroundings(scratch)
        let mark = "SWVMM_SUITE=\(scratch.path)"
        var arguments = ["env", mark, options.swvmm, "run", "--config", "\(scratch.path)/vm.json"]
        switch input.setting {
        case .plain: break
        case .powerless, .stranger:
            guard isRoot else { return report.remark("bad input: \(input.name): left out, only root can become somebody else") }
            // The program itself may stand where only root can go.
            arguments[2] = "\(program.path)/swvmm"
            _ = Command.shell("chmod 755 \(program.path) && install -m 755 \(options.swvmm) \(arguments[2])")
            arguments =
                input.setting == .stranger
                ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "-u", "XDG_RUNTIME_DIR"] + arguments
                : ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-net_admin"] + arguments
        case .without(let commands):
            let namespace = isRoot ? ["unshare", "-m"] : ["unshare", "-rm"]
            arguments = namespace + ["sh", "-c", "\(commands) && exec \"$@\"", "sh"] + arguments
        }
        let result = Command.run(arguments, seconds: 60)
        _ = lock.take()
        let left = Command.shell("grep -lz '^\(mark)$' /proc/[0-9]*/environ 2>/dev/null")
        let after = surroundings(scratch)
        report.note("bad input: \(input.name)", problem(result, left: left, before, after), context: lines(result.errors, last: 5))
    }

    /// Starts the back-end, if there is to be one, and waits until it listens.
    private func startPeer(_ scratch: Scratch) throws(PeerFailure) -> RunningVM? {
        guard let first = input.peer.first else { return nil }
        let program = first == "swvmm" ? options.swvmm : findProgram(first) ?? first
        let arguments = input.peer.dropFirst().map { $0.replacing("@", with: scratch.path) }
        guard let peer = try? RunningVM(program: program, arguments: arguments) else { throw PeerFailure("\(first) cannot be started") }
        let deadline = MonotonicTime.now + peerPatience
        while Command.shell("ss -xl | grep -qF ' \(scratch.path)/peer.sock '") == nil {
            _ = peer.nextLine(before: MonotonicTime.now + 10)
            guard peer.status == nil, MonotonicTime.now < deadline else {
                throw PeerFailure("\(first) does not listen", context: lines(peer.complaints))
            }
        }
        return peer
    }

    private func surroundings(_ scratch: Scratch) -> String {
        Command.shell("find \(scratch.path) | sort; ls /sys/class/net; ls /dev/pts | wc -l") ?? ""
    }

    private func problem(_ result: CommandResult, left: String?, _ before: String, _ after: String) -> String? {
        let said = result.errors.split(separator: "\n", omittingEmptySubsequences: true)
        if result.status != .exited(input.code) {
            return "expected exit code \(input.code), found \(result.status.map { "\($0)" } ?? "none in 60 s")"
        }
        if said.count != 1 { return "expected one line on standard error, found \(said.count)" }
        if !result.errors.hasPrefix("swvmm: ") { return "expected the line to begin with 'swvmm: '" }
        for text in input.says where result.errors.firstRange(of: text) == nil { return "expected '\(text)' in the sentence" }
        if before != after {
            return "something is left behind: \(after.split(separator: "\n").filter { before.firstRange(of: String($0)) == nil })"
        }
        if let left, !left.isEmpty { return "a process is left behind: \(left)" }
        return nil
    }
}
