import Host
import Virtqueue

/// The directory of a running VM: `lock`, held for the VM's life with its pid inside, and `control.sock`.
public final class RuntimeDirectory: Sendable {
    /// The directory, absolute.
    public let path: String
    /// The VM's name.
    public let name: String
    private let lock: OwnedDescriptor

    /// Where the control socket is.
    public var socketPath: String { Self.socketPath(in: path) }

    private init(path: String, name: String, lock: consuming OwnedDescriptor) {
        self.path = path
        self.name = name
        self.lock = lock
    }

    /// Makes a VM's directory, or takes over one that a dead VM left behind. A name whose VM runs is refused.
    public static func claim(name: String) throws(VMError) -> RuntimeDirectory {
        try claim(name: name, roots: RuntimeRoots.forThisProcess())
    }

    static func claim(name: String, roots: RuntimeRoots) throws(VMError) -> RuntimeDirectory {
        try RuntimeRoots.check(name)
        for root in roots.all {
            if case .running(let pid) = try RuntimeState.of("\(root)/\(name)") { throw alreadyRuns(name, pid) }
        }
        let path = "\(roots.first)/\(name)"
        let socket = socketPath(in: path)
        guard socket.utf8.count <= 107 else {
            throw VMError(
                .resource,
                "\(socket): is \(socket.utf8.count) bytes long, and a socket's path has at most 107; "
                    + "choose a shorter name or another XDG_RUNTIME_DIR.")
        }
        try make(roots.first)
        // A VM of the same name that ends at this moment removes the directory under our hands; then there is a next time.
        for _ in 0..<20 {
            try make(path)
            if let lock = try take(path, name) {
                removeFile(socket)
                return RuntimeDirectory(path: path, name: name, lock: lock)
            }
        }
        throw VMError(.resource, "\(path): is removed whenever it is made; expected a directory for the VM \"\(name)\".")
    }

    /// Makes a directory for this user alone, or makes sure that the one that is there is.
    private static func make(_ path: String) throws(VMError) {
        do throws(SystemError) {
            try PrivateDirectories.make(path)
        } catch {
            // What is there already is looked at below.
            guard error.errno == .exists else {
                throw VMError(.resource, "\(path): the directory cannot be made (\(error.errno)).")
            }
        }
        let facts: PathFacts
        do throws(SystemError) {
            facts = try PrivateDirectories.facts(of: path)
            if facts.kind == .directory, facts.owner == PrivateDirectories.user, facts.permissions & 0o077 != 0 {
                try PrivateDirectories.open(path).setPermissions(0o700)
            }
        } catch {
            // It went away meanwhile: the caller will see.
            if error.errno == .noEntry { return }
            throw VMError(.resource, "\(path): cannot be used (\(error.errno)); expected a directory of this user.")
        }
        guard facts.kind == .directory else {
            let found = facts.kind == .link ? "a symbolic link" : "a file"
            throw VMError(.resource, "\(path): is \(found); expected a directory of this user.")
        }
        guard facts.owner == PrivateDirectories.user else {
            throw VMError(.resource, "\(path): belongs to user \(facts.owner); expected a directory of this user.")
        }
    }

    /// Takes the lock; nil when the directory went away meanwhile.
    private static func take(_ path: String, _ name: String) throws(VMError) -> OwnedDescriptor? {
        let lockPath = Self.lockPath(in: path)
        let holder: Int64?
        do throws(SystemError) {
            let lock = try OwnedDescriptor.openPrivateFile(lockPath)
            if try lock.lockFile(exclusive: true) {
                guard lock.isFile(at: lockPath) else { return nil }
                let text = Array("\(RuntimeRoots.processID)\n".utf8)
                // In this order: an empty file gives its block back, which can take a file system milliseconds.
                _ = try lock.write(text.span.untyped)
                try lock.resize(to: UInt64(text.count))
                return lock
            }
            holder = RuntimeState.pid(in: lock)
        } catch {
            if error.errno == .noEntry { return nil }
            throw VMError(.resource, "\(lockPath): cannot be locked (\(error.errno)).")
        }
        throw alreadyRuns(name, holder)
    }

    /// Removes the directory with all that is in it. The lock is held until this object goes.
    public func remove() {
        // The lock last: a directory without one is nobody's.
        removeFile(socketPath)
        if lock.isFile(at: Self.lockPath(in: path)) {
            removeFile(Self.lockPath(in: path))
            PrivateDirectories.remove(path)
        }
    }

    deinit { remove() }

    static func alreadyRuns(_ name: String, _ pid: Int64?) -> VMError {
        let who = pid.map { " (pid \($0))" } ?? ""
        return VMError(.resource, "A VM named \"\(name)\" is running\(who); stop it, or give this one another name.")
    }

    static func lockPath(in directory: String) -> String { "\(directory)/lock" }
    static func socketPath(in directory: String) -> String { "\(directory)/control.sock" }
}
