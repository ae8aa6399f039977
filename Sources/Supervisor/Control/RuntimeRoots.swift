import Host
import Schema
import Virtqueue

/// Where the runtime directories of VMs are: `$XDG_RUNTIME_DIR/swvmm`, for root `/run/swvmm`, else `/tmp/swvmm-<uid>`.
struct RuntimeRoots: Sendable {
    /// Where new ones are made.
    let first: String
    /// Where they are looked for: a VM that was started with another environment is found all the same.
    let all: [String]

    init(_ all: [String]) {
        self.all = all
        first = all.first ?? "/tmp/swvmm"
    }

    /// The roots of this user and environment. A variable that is empty, relative or names no directory is as good as none.
    static func forThisProcess() -> RuntimeRoots {
        of(user: PrivateDirectories.user, runtimeDirectory: environmentVariable("XDG_RUNTIME_DIR"))
    }

    static func of(user: UInt32, runtimeDirectory: String?) -> RuntimeRoots {
        var roots: [String] = []
        if let directory = runtimeDirectory, directory.hasPrefix("/"), pathExists(directory) {
            roots.append((directory.hasSuffix("/") ? String(directory.dropLast()) : directory) + "/swvmm")
        }
        roots.append(user == 0 ? "/run/swvmm" : "/tmp/swvmm-\(user)")
        return RuntimeRoots(roots)
    }

    /// This process, as it stands in its lock file.
    static var processID: Int32 { PrivateDirectories.process }

    /// Refuses what is no name of a VM, before it becomes a part of a path.
    static func check(_ name: String) throws(VMError) {
        guard StringRule.name.accepts(name) else {
            throw VMError(
                .usage,
                "\"\(ControlRoute.shortened(name))\" is no name of a VM; expected 1 to 64 letters, digits, '-', '_' or '.', "
                    + "beginning with a letter or digit.")
        }
    }

    /// The directory of the VM with this name, and what is in it: a running one before a dead one.
    func find(_ name: String) throws(VMError) -> (directory: String, state: RuntimeState) {
        var found: (directory: String, state: RuntimeState) = ("\(first)/\(name)", .absent)
        for root in all {
            let directory = "\(root)/\(name)"
            let state = try RuntimeState.of(directory)
            if case .running = state { return (directory, state) }
            if state != .absent, found.state == .absent { found = (directory, state) }
        }
        return found
    }

    /// The names of all VMs that have a directory, in order.
    func names() -> [String] {
        let names = all.flatMap { root in (try? PrivateDirectories.names(in: root)) ?? [] }
        return Set(names.filter { StringRule.name.accepts($0) }).sorted()
    }
}

/// What a runtime directory tells of its VM.
enum RuntimeState: Sendable, Equatable {
    /// There is no such VM.
    case absent
    /// The VM has died and left its directory.
    case dead
    /// The VM runs; the pid is nil while it starts.
    case running(pid: Int64?)
    /// The directory is another user's.
    case forbidden

    /// Looks at a directory, and disturbs nobody by it.
    static func of(_ directory: String) throws(VMError) -> RuntimeState {
        do throws(SystemError) {
            let lock = try OwnedDescriptor.openToRead(RuntimeDirectory.lockPath(in: directory))
            return try lock.isLockedExclusively() ? .running(pid: pid(in: lock)) : .dead
        } catch {
            if error.errno == .noEntry {
                return (try? PrivateDirectories.facts(of: directory))?.kind == .directory ? .dead : .absent
            }
            if error.errno == .accessDenied || error.errno == .notPermitted { return .forbidden }
            throw VMError(.resource, "\(directory): cannot be looked at (\(error.errno)); expected the directory of a VM.")
        }
    }

    /// The pid in a lock file.
    static func pid(in lock: borrowing OwnedDescriptor) -> Int64? {
        var bytes = [UInt8](repeating: 0, count: 32)
        var span = bytes.mutableSpan
        var untyped = span.untyped
        guard let count = try? lock.read(into: &untyped, at: 0) else { return nil }
        return Int64(String(decoding: bytes.prefix(count).prefix { $0 != 0x0a }, as: UTF8.self))
    }
}
