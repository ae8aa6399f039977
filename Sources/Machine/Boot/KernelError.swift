public import Host

/// Why a kernel cannot be started. Whoever shows it puts the name of what `subject` says in front.
public enum KernelError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What an error is about.
    public enum Subject: String, Sendable {
        /// The kernel's file.
        case kernel
        /// The initrd's file.
        case initrd
        /// The command line.
        case commandLine = "command line"
        /// The configured amount of memory.
        case memory
    }

    /// A system call on the file failed.
    case unreadable(Subject, SystemError)
    /// The file has no bytes.
    case empty(Subject)
    /// Some other kind of file: what it is, as far as that can be told.
    case notAKernel(found: String)
    /// A kernel for another architecture: which.
    case foreign(found: String)
    /// A kernel that lacks what is needed to start it: what was expected, and what was found.
    case unsupported(expected: String, found: String)
    /// The file contradicts itself: what was expected, and what was found.
    case malformed(expected: String, found: String)
    /// The file ends too early: the bytes that it must have at least, and those that it has.
    case truncated(Subject, expected: UInt64, found: UInt64)
    /// The kernel does not fit: the memory that it needs, and where RAM ends.
    case kernelTooLarge(needed: UInt64, end: UInt64)
    /// The initrd does not fit beside the kernel: its size, and the room that there is.
    case initrdTooLarge(size: UInt64, room: UInt64)
    /// The longest command line that the kernel takes, and the length of this one, in bytes.
    case commandLineTooLong(limit: Int, length: Int)
    /// The command line contains a zero byte, where the kernel would end it.
    case commandLineHasNUL

    /// What is to be named in front of the description.
    public var subject: Subject {
        switch self {
        case .unreadable(let subject, _), .empty(let subject), .truncated(let subject, _, _): subject
        case .notAKernel, .foreign, .unsupported, .malformed: .kernel
        case .kernelTooLarge: .memory
        case .initrdTooLarge: .initrd
        case .commandLineTooLong, .commandLineHasNUL: .commandLine
        }
    }

    /// One sentence: what was expected and what was found.
    public var description: String {
        switch self {
        case .unreadable(_, let error): "cannot be read (\(error))"
        case .empty(let subject): "expected \(subject == .kernel ? "a kernel" : "an initrd"), found an empty file"
        case .notAKernel(let found): "expected a bzImage or an ELF vmlinux for x86-64, found \(found)"
        case .foreign(let found): "expected a kernel for x86-64, found one for \(found)"
        case .unsupported(let expected, let found), .malformed(let expected, let found): "expected \(expected), found \(found)"
        case .truncated(_, let expected, let found): "expected at least \(expected) bytes, found only \(found): the file is truncated"
        case .kernelTooLarge(let needed, let end):
            "expected more memory for this kernel, which needs RAM up to \(Self.mebibytes(needed)) MiB, found \(Self.mebibytes(end)) MiB"
        case .initrdTooLarge(let size, let room):
            "expected at most \(room) bytes, which is the room in guest memory beside the kernel, found \(size)"
        case .commandLineTooLong(let limit, let length): "expected at most \(limit) bytes, which this kernel takes, found \(length)"
        case .commandLineHasNUL: "expected text without zero bytes, found one"
        }
    }

    /// Rounded up: a need must not look satisfied.
    private static func mebibytes(_ bytes: UInt64) -> UInt64 { bytes >> 20 + (bytes & 0xf_ffff == 0 ? 0 : 1) }
}
