import CLinux
import Glibc

/// A descriptor that a child inherits.
public struct InheritedDescriptor: Sendable, Equatable {
    /// Its number here.
    public let source: Int32
    /// Its number in the child.
    public let target: Int32

    /// Descriptor `source` becomes `target` in the child.
    public init(_ source: Int32, as target: Int32) {
        self.source = source
        self.target = target
    }
}

/// Namespaces that a child gets for itself (namespaces(7)).
public struct Namespaces: OptionSet, Sendable {
    /// The flags of clone(2).
    public let rawValue: UInt64
    /// Wraps flags.
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Mounts.
    public static let mounts = Namespaces(rawValue: 0x0002_0000)
    /// Control groups.
    public static let controlGroups = Namespaces(rawValue: 0x0200_0000)
    /// Host name.
    public static let hostName = Namespaces(rawValue: 0x0400_0000)
    /// System V and POSIX message queues, semaphores and shared memory.
    public static let messages = Namespaces(rawValue: 0x0800_0000)
    /// Users: the child is user 0 in it, with all capabilities there. What an ordinary user needs for the others.
    public static let users = Namespaces(rawValue: 0x1000_0000)
    /// Processes: the child is process 1 in it.
    public static let processes = Namespaces(rawValue: 0x2000_0000)
    /// Network interfaces.
    public static let network = Namespaces(rawValue: 0x4000_0000)

    /// Everything but users, and what a room has in common for all who enter it.
    public static let besideRoom: Namespaces = [.controlGroups, .hostName, .messages, .processes]

    /// Everything but users.
    public static let all: Namespaces = [.mounts, .controlGroups, .hostName, .messages, .processes, .network]
}

/// How a child ended.
public enum ExitStatus: Sendable, Equatable, CustomStringConvertible {
    /// It left with this code.
    case exited(Int32)
    /// This signal killed it.
    case killed(Int32)

    /// `ended with exit code 1`, `was killed by signal 9`.
    public var description: String {
        switch self {
        case .exited(let code): "ended with exit code \(code)"
        case .killed(let signal): "was killed by signal \(signal)"
        }
    }
}

/// A child process, held by its pidfd: killed and reaped when its owner goes, and by the kernel when the *thread* that started it ends
/// (start it from the main thread).
///
/// It runs in a process group of its own, with default signal handling, standard streams as mapped or else ours, and no other descriptors
/// than those named.
public struct ChildProcess: ~Copyable, Sendable {
    /// Its process id.
    public let processID: Int32
    /// Becomes readable when it ends; for a `Poller`.
    public let descriptor: OwnedDescriptor
    private var status: ExitStatus?
    /// It was killed, and nobody waits for it any more.
    private var isLeft = false
    /// Where it says that it could not execute the program; nil when that is known already.
    private let report: OwnedDescriptor?

    /// Starts the program at an absolute path. `arguments` begin with the program's name; `environment` nil is our own. At most 64
    /// descriptors. Unless it `waits`, this returns before the program is executed, and `startFailure` tells in the end whether it was.
    public init(
        path: String, arguments: [String], environment: [String]? = nil, descriptors: [InheritedDescriptor] = [], directory: String? = nil,
        namespaces: Namespaces = [], waits: Bool = true
    ) throws(SystemError) {
        let argumentList = CStringList(arguments)
        let environmentList = environment.map { CStringList($0) }
        let mapped = descriptors.map { swv_spawn_descriptor(source: $0.source, target: $0.target) }
        let program = CStringList([path] + (directory.map { [$0] } ?? []))
        var pidfd: Int32 = -1
        var later: Int32 = -1
        let result = unsafe mapped.withUnsafeBufferPointer { mapped in
            unsafe argumentList.withPointers { arguments in
                unsafe program.withPointers { program in
                    var request = unsafe swv_spawn()
                    unsafe request.namespaces = namespaces.rawValue
                    unsafe request.path = UnsafePointer(program[0])
                    unsafe request.directory = UnsafePointer(program[1])
                    unsafe request.arguments = arguments
                    unsafe request.descriptors = mapped.baseAddress
                    unsafe request.descriptor_count = Int32(clamping: mapped.count)
                    if let environmentList {
                        return unsafe environmentList.withPointers { environment in
                            unsafe request.environment = environment
                            return unsafe spawn(&request, &pidfd, &later, waits: waits)
                        }
                    }
                    unsafe request.environment = UnsafePointer(environ)
                    return unsafe spawn(&request, &pidfd, &later, waits: waits)
                }
            }
        }
        guard result > 0 else { throw SystemError("exec", Errno(rawValue: -result)) }
        processID = result
        descriptor = OwnedDescriptor(owning: pidfd)
        report = waits ? nil : OwnedDescriptor(owning: later)
        status = nil
    }

    /// Waits until the child has ended, at most `timeoutMilliseconds` (0 looks only); nil when it still runs.
    public mutating func wait(timeoutMilliseconds: Int32) throws(SystemError) -> ExitStatus? {
        if let status { return status }
        status = try reap(within: timeoutMilliseconds)
        return status
    }

    /// Why a child that was not waited for, and has ended, has never executed its program; nil when it has.
    public borrowing func startFailure() -> SystemError? {
        guard status == .exited(127) else { return nil }
        switch report {
        case .some(let report):
            guard let bytes = try? report.readSome(4), bytes.count == 4 else { return nil }
            let number = bytes.reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            return SystemError("exec", Errno(rawValue: Int32(truncatingIfNeeded: number)))
        case .none: return nil
        }
    }

    /// Sends a signal; to a child that has ended, nothing happens.
    public borrowing func signal(_ number: Int32) {
        guard status == nil else { return }
        _ = swv_pidfd_signal(descriptor.rawValue, number)
    }

    /// Asks the child to end (SIGTERM), and kills it when it has not done so in time; nil when even that has not ended it yet, because the
    /// kernel is doing something for it that nothing interrupts.
    public consuming func terminate(graceMilliseconds: Int32) -> ExitStatus? {
        signal(SIGTERM)
        let deadline = MonotonicTime.now + Int64(max(graceMilliseconds, 0))
        while status == nil {
            let left = deadline - MonotonicTime.now
            guard left > 0, (try? wait(timeoutMilliseconds: Int32(clamping: left))) != nil else { break }
        }
        if status == nil {
            signal(SIGKILL)
            isLeft = true
            status = try? reap(within: Self.mostDying)
        }
        return status
    }

    /// How long a killed child may take to go, in milliseconds.
    private static let mostDying: Int32 = 10_000

    private borrowing func reap(within milliseconds: Int32) throws(SystemError) -> ExitStatus? {
        let deadline = MonotonicTime.now + Int64(milliseconds)
        var poll = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
        while unsafe Glibc.poll(&poll, 1, Int32(clamping: max(deadline - MonotonicTime.now, 0))) < 0 {
            let failure = Errno.current
            guard failure == .interrupted else { throw SystemError("poll", failure) }
        }
        var code: Int32 = 0
        var value: Int32 = 0
        let raw = descriptor.rawValue
        let result = try retryingOnInterrupt("waitid") { unsafe swv_pidfd_reap(raw, &code, &value, 0) }
        guard result == 1 else { return nil }
        return code == CLD_EXITED ? .exited(value) : .killed(value)
    }

    deinit {
        guard status == nil, !isLeft else { return }
        _ = swv_pidfd_signal(descriptor.rawValue, SIGKILL)
        _ = try? reap(within: Self.mostDying)
    }
}

/// Time that only goes forward.
public enum MonotonicTime {
    /// Milliseconds since some moment in the past.
    public static var now: Int64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) &* 1000 &+ Int64(time.tv_nsec) / 1_000_000
    }
}

/// Does nothing for a while.
public func pause(milliseconds: UInt32) { usleep(milliseconds * 1000) }

/// Where a symbolic link leads; nil for anything else.
public func linkTarget(_ path: String) -> String? {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = unsafe bytes.withUnsafeMutableBytes { buffer -> Int in
        guard let start = buffer.baseAddress else { return 0 }
        return unsafe readlink(path, start, buffer.count)
    }
    guard count > 0, count < bytes.count else { return nil }
    return String(decoding: bytes.prefix(count), as: UTF8.self)
}

/// Finds a program as a shell would: in the directories of PATH, then in the usual ones; a name with a slash is a path.
public func findProgram(_ name: String) -> String? {
    if name.contains("/") { return unsafe access(name, X_OK) == 0 ? name : nil }
    let path = unsafe getenv("PATH").flatMap { unsafe String(validatingCString: $0) } ?? ""
    for directory in path.split(separator: ":").map(String.init) + ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"] {
        let candidate = "\(directory)/\(name)"
        if unsafe access(candidate, X_OK) == 0 { return candidate }
    }
    return nil
}

private func spawn(
    _ request: UnsafePointer<swv_spawn>, _ pidfd: UnsafeMutablePointer<Int32>, _ later: UnsafeMutablePointer<Int32>, waits: Bool
) -> Int32 {
    let result = unsafe swv_spawn(request, pidfd, waits ? nil : later)
    return result > 0 ? result : -Errno.current.rawValue
}

/// Strings as C wants them: null-terminated, in a null-terminated array.
@safe private final class CStringList {
    private let pointers: UnsafeMutableBufferPointer<UnsafeMutablePointer<CChar>?>

    init(_ strings: [String]) {
        // Two nulls at the end: the list may be read one beyond its last string.
        unsafe pointers = .allocate(capacity: strings.count + 2)
        for index in strings.indices { unsafe pointers.initializeElement(at: index, to: strdup(strings[index])) }
        unsafe pointers.initializeElement(at: strings.count, to: nil)
        unsafe pointers.initializeElement(at: strings.count + 1, to: nil)
    }

    deinit {
        for index in unsafe pointers.indices { unsafe free(pointers[index]) }
        unsafe pointers.deallocate()
    }

    func withPointers<R>(_ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> R) -> R {
        // The array has at least two elements, so it has an address.
        unsafe body(UnsafePointer(pointers.baseAddress!))
    }
}
