import Glibc
import Host

/// What a command said, and how it ended; `status` is nil when it had to be killed because its time was over.
struct CommandResult {
    let status: ExitStatus?
    let output: String
    let errors: String

    var succeeded: Bool { status == .exited(0) }
}

/// Runs other programs.
enum Command {
    /// Runs a program, found as a shell would, and waits for its end.
    static func run(_ arguments: [String], environment: [String]? = nil, directory: String? = nil, seconds: Int64 = 60) -> CommandResult {
        do {
            guard let program = arguments.first.flatMap({ findProgram($0) }) else {
                return CommandResult(status: nil, output: "", errors: "\(arguments.first ?? "nothing"): no such program")
            }
            let nothing = try OwnedDescriptor.open("/dev/null", flags: O_RDONLY)
            let output = try Pipe()
            let errors = try Pipe()
            var child = try ChildProcess(
                path: program, arguments: arguments, environment: environment,
                descriptors: [
                    InheritedDescriptor(nothing.rawValue, as: 0), InheritedDescriptor(output.writer.rawValue, as: 1),
                    InheritedDescriptor(errors.writer.rawValue, as: 2),
                ], directory: directory)
            let said = try ByteStream(output.takeReader())
            let complained = try ByteStream(errors.takeReader())
            let deadline = MonotonicTime.now + seconds * 1000
            while said.isOpen || complained.isOpen {
                let left = deadline - MonotonicTime.now
                guard left > 0 else { break }
                try ByteStream.wait(for: [said, complained], milliseconds: left)
            }
            var status = try child.wait(timeoutMilliseconds: Int32(clamping: max(deadline - MonotonicTime.now, 0)))
            if status == nil {
                child.signal(SIGKILL)
                _ = try child.wait(timeoutMilliseconds: 5000)
                status = nil
            }
            return CommandResult(status: status, output: said.takeText(), errors: complained.takeText())
        } catch {
            return CommandResult(status: nil, output: "", errors: "\(error)")
        }
    }

    /// Runs a line of shell; what it prints, without the newline at its end, or nil when it fails.
    static func shell(_ line: String, seconds: Int64 = 60) -> String? {
        let result = run(["sh", "-c", line], seconds: seconds)
        guard result.succeeded else { return nil }
        return result.output.hasSuffix("\n") ? String(result.output.dropLast()) : result.output
    }
}

extension Pipe {
    /// Closes our copy of the end that the child writes to, and keeps the other.
    consuming func takeReader() throws(SystemError) -> OwnedDescriptor { try reader.duplicate() }
}
