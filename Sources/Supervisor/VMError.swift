/// What went wrong, for a person: one sentence, its cause, and the exit code that scripts see.
public struct VMError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kind of failure, which decides the exit code.
    public let code: ExitCode
    /// One sentence that names the file or JSON path and what was expected.
    public let message: String

    /// An error.
    public init(_ code: ExitCode, _ message: String) {
        self.code = code
        self.message = message
    }

    /// The sentence.
    public var description: String { message }
}

/// How `swvmm` ends; documented in Docs/exit-codes.md, and stable for scripts.
public enum ExitCode: Int32, Sendable, CaseIterable {
    /// The guest powered off, or the command did what it was asked.
    case success = 0
    /// The machine or a device failed while the guest ran.
    case failure = 1
    /// The command line was not understood.
    case usage = 64
    /// The configuration cannot be used.
    case configuration = 65
    /// A file, device or socket that the configuration names cannot be used.
    case resource = 66
    /// This host cannot run the VM: no KVM, no permission, or an instruction that its KVM cannot run.
    case host = 69
    /// The guest asked for a reset, and `onReboot` is `exit`.
    case guestReset = 80
    /// The guest's kernel panicked.
    case guestPanic = 81
    /// The guest was stopped by a triple fault.
    case guestTripleFault = 82
    /// The guest was ended from outside: Ctrl-A x, or a SIGTERM that the guest did not obey in time.
    case stopped = 83
}
