import Glibc
import Host

/// A `swvmm run`, or another program, that has been started, seen from outside: its console's lines, its complaints, its end.
final class RunningVM {
    /// How the suite reaches the guest's console hvc0.
    enum Console: String, CaseIterable {
        /// The standard streams, which are pipes.
        case pipe
        case pty
        case socket
    }

    private var child: ChildProcess?
    private let descriptor: Int32
    let processID: Int32
    private let input: ByteStream
    private let output: ByteStream
    private let errors: ByteStream
    private var console: ByteStream?
    private let kind: Console
    private let socketPath: String
    /// The last lines of the console.
    private(set) var history: [String] = []
    /// Everything on standard error so far.
    private(set) var complaints = ""
    private(set) var status: ExitStatus?

    /// Starts a VM from a configuration. Of a console that is a socket, `socketPath` is its path.
    convenience init(swvmm: String, configuration: String, console kind: Console = .pipe, socketPath: String = "") throws(SystemError) {
        try self.init(program: swvmm, arguments: ["run", "--config", configuration], console: kind, socketPath: socketPath)
    }

    /// Starts swvmm with other arguments, which bring a VM to life, or somebody else's program.
    init(program: String, arguments: [String], console kind: Console = .pipe, socketPath: String = "") throws(SystemError) {
        let keyboard = try Pipe()
        let output = try Pipe()
        let errors = try Pipe()
        let command = Self.pin + [program] + arguments
        let child = try ChildProcess(
            path: command[0], arguments: command,
            descriptors: [
                InheritedDescriptor(keyboard.reader.rawValue, as: 0), InheritedDescriptor(output.writer.rawValue, as: 1),
                InheritedDescriptor(errors.writer.rawValue, as: 2),
            ])
        descriptor = child.descriptor.rawValue
        processID = child.processID
        self.child = consume child
        self.kind = kind
        self.socketPath = socketPath
        input = try ByteStream(try keyboard.writer.duplicate())
        self.output = try ByteStream(try output.reader.duplicate())
        self.errors = try ByteStream(try errors.reader.duplicate())
        if kind == .pipe { console = self.output }
    }

    /// In the lab, VMs run on its second processor alone. The lab's emulator runs its processors in threads of their own and can keep
    /// a translation of code that another processor is just patching (as Linux does to itself, and kvm-amd for each VM): about every
    /// fourth guest with two vCPUs on two processors died of that, of any VMM, and now and then the lab.
    private static let pin: [String] =
        environmentVariable("SWVMM_LAB") == nil ? [] : [findProgram("taskset") ?? "/usr/bin/taskset", "-c", "1"]

    /// The next line from the console; nil when the VM has ended and said everything, or the deadline has passed.
    func nextLine(before deadline: Int64) -> String? {
        while true {
            connect()
            if let line = console?.takeLine() {
                history.append(line)
                if history.count > 40 { history.removeFirst() }
                return line
            }
            if status != nil { return nil }
            let left = deadline - MonotonicTime.now
            guard left > 0 else { return nil }
            // A console that is not there yet is looked for again soon.
            try? ByteStream.wait(for: streams, milliseconds: console == nil ? min(left, 50) : left, also: descriptor)
            complaints += errors.takeText()
            poll()
        }
    }

    /// Waits for the VM's end.
    func waitForEnd(before deadline: Int64) -> ExitStatus? {
        while status == nil, MonotonicTime.now < deadline { _ = nextLine(before: deadline) }
        return status
    }

    func type(_ text: String) -> Bool { (kind == .pipe ? input : console)?.write(text) ?? false }

    func signal(_ number: Int32) { child?.signal(number) }

    /// Kills what still runs.
    func kill() {
        guard status == nil, let child = child.take() else { return }
        status = child.terminate(graceMilliseconds: 0)
    }

    /// What has come from the console and is not a whole line yet; with the console's end, that is all that is left.
    func takeRest() -> String { console?.takeText() ?? "" }

    private var streams: [ByteStream] {
        guard let console, kind != .pipe else { return [output, errors] }
        return [output, errors, console]
    }

    private func poll() {
        guard let ended = try? child?.wait(timeoutMilliseconds: 0) else { return }
        for stream in streams { stream.fill() }
        complaints += errors.takeText()
        status = ended
    }

    /// Opens the console as soon as it is there.
    private func connect() {
        guard console == nil else { return }
        switch kind {
        case .pipe: break
        case .socket:
            if let socket = try? UnixSocket.connect(to: socketPath) { console = try? ByteStream(socket) }
        case .pty:
            guard let start = complaints.firstRange(of: "/dev/pts/") else { return }
            let number = complaints[start.upperBound...].prefix { $0.isNumber }
            // Its number may not be complete before something follows it.
            guard complaints[start.upperBound...].count > number.count else { return }
            if let terminal = try? OwnedDescriptor.open("/dev/pts/\(number)", flags: O_RDWR | O_NOCTTY) {
                console = try? ByteStream(terminal)
            }
        }
    }
}

extension String {
    /// Where a text first occurs.
    func firstRange(of text: String) -> Range<String.Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text), let end = index(start, offsetBy: text.count, limitedBy: endIndex) { return start..<end }
            start = index(after: start)
        }
        return nil
    }
}
