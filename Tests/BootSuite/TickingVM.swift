import Glibc
import Host

/// The payload `ticker` in a VM that is put to sleep, saved, killed and brought back: its ticks must be one sequence, whatever happens.
final class TickingVM {
    struct Failure: Error {
        let reason: String
        init(_ reason: String) { self.reason = reason }
    }

    /// How long anything may take, in milliseconds.
    private static let patience: Int64 = 30_000

    let name: String
    private let options: Options
    private var machine: RunningVM
    /// The beginning of a line that the last process wrote before its end.
    private var rest = ""
    /// The last tick that was seen.
    private(set) var tick: UInt64 = 0
    private var tsc: UInt64 = 0

    /// Starts the payload.
    init(_ options: Options, name: String, configuration: String) throws {
        self.options = options
        self.name = name
        machine = try RunningVM(swvmm: options.swvmm, configuration: configuration)
    }

    /// Brings a VM back from a snapshot that was taken when `tick` was the last one.
    init(_ options: Options, name: String, restoring directory: String, after other: TickingVM, arguments: [String] = []) throws {
        self.options = options
        self.name = name
        (tick, tsc, rest) = (other.tick, other.tsc, other.rest)
        machine = try RunningVM(program: options.swvmm, arguments: ["restore", directory, "--name", name] + arguments)
    }

    /// Starts swvmm with arguments that bring a VM to life.
    init(_ options: Options, name: String, arguments: [String]) throws {
        self.options = options
        self.name = name
        machine = try RunningVM(program: options.swvmm, arguments: arguments)
    }

    /// Waits until it answers on its control socket.
    func waitUntilItAnswers() throws {
        let deadline = MonotonicTime.now + Self.patience
        while MonotonicTime.now < deadline {
            if (try? command("info", name)) != nil { return }
            _ = usleep(10_000)
        }
        throw Failure("VM \(name) does not answer: \(machine.complaints)")
    }

    var processID: Int32 { machine.processID }
    var complaints: String { machine.complaints }

    /// Follows the ticks until `count` more have come.
    func watch(_ count: UInt64) throws {
        let goal = tick + count
        let deadline = MonotonicTime.now + Self.patience
        while tick < goal {
            guard let line = machine.nextLine(before: deadline) else {
                let end = machine.status.map { "\($0)" } ?? "it is silent"
                throw Failure("expected tick \(goal), got as far as \(tick): \(end); \(machine.complaints)")
            }
            try take(line)
        }
    }

    private func take(_ line: String) throws {
        let whole = rest + line
        rest = ""
        let words = whole.split(separator: " ")
        guard words.count == 3, words[0] == "tick", let number = UInt64(words[1]), let clock = UInt64(words[2]) else {
            throw Failure("expected 'tick N TSC', found '\(whole)'")
        }
        guard number == tick + 1 else { throw Failure("expected tick \(tick + 1), found \(number)") }
        guard clock >= tsc else { throw Failure("tick \(number): the TSC went back from \(tsc) to \(clock)") }
        (tick, tsc) = (number, clock)
    }

    /// Runs a command of the VM's, which must succeed.
    @discardableResult
    func command(_ arguments: String...) throws -> String {
        let result = Command.run([options.swvmm] + arguments)
        guard result.succeeded else {
            let status = result.status.map { "\($0)" } ?? "not in time"
            throw Failure("'swvmm \(arguments.joined(separator: " "))' ended with \(status): \(result.errors)")
        }
        return result.output + result.errors
    }

    /// Takes all ticks of a VM that sleeps; when it does sleep, no more come.
    func settle() throws {
        // What is in the pipe is all there is.
        while let line = machine.nextLine(before: MonotonicTime.now + 50) { try take(line) }
        rest += machine.takeRest()
    }

    /// Waits until standard error has a text.
    func expectComplaint(_ text: String) throws {
        let deadline = MonotonicTime.now + Self.patience
        while complaints.firstRange(of: text) == nil {
            guard MonotonicTime.now < deadline, machine.status == nil else {
                throw Failure("expected '\(text)' on standard error, found: \(complaints)")
            }
            // It is read while lines are waited for.
            try watch(1)
        }
    }

    /// Waits until the process has ended by itself.
    func waitForEnd() -> ExitStatus? { machine.waitForEnd(before: MonotonicTime.now + Self.patience) }

    /// Kills the process as SIGKILL does.
    func kill() { machine.kill() }
}

/// A case with a `TickingVM` that runs: `change` adapts what it is like.
func tickingCase(
    _ options: Options, _ name: String, _ change: @escaping (inout VMFile, Scratch) -> Void,
    _ body: @escaping (TickingVM, Scratch) throws -> Void
) -> TestCase {
    TestCase(name: name) { report in
        let scratch = Scratch("ticking")
        defer { scratch.remove() }
        var file = VMFile(kernel: "\(options.payloads)/ticker")
        file.name = "ticker"
        file.memory = "128M"
        file.serial = "\"stdio\""
        file.extra = ["\"debugExit\": true"]
        change(&file, scratch)
        var vm: TickingVM?
        var problem: String?
        do {
            let started = try TickingVM(options, name: file.name, configuration: scratch.write("vm.json", file.text))
            vm = started
            try started.watch(5)
            try started.waitUntilItAnswers()
            try body(started, scratch)
        } catch let failure as TickingVM.Failure {
            problem = failure.reason
        } catch {
            problem = "\(error)"
        }
        vm?.kill()
        report.note(name, problem, context: lines(vm?.complaints ?? ""))
    }
}
