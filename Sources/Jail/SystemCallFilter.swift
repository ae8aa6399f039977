import CLinux
import CSeccomp
import Glibc
import Host

/// A policy as the kernel takes it: a program for its filter machine (seccomp(2), classic BPF).
///
/// libseccomp makes it of a policy. For those that are built in this was done beforehand, because it takes longer than all the rest of closing
/// a jail; a test holds the programs to the texts.
public struct SystemCallFilter: Sendable, Equatable {
    /// The instructions, each a `sock_filter` in its eight bytes.
    let instructions: [UInt64]

    init(instructions: [UInt64]) { self.instructions = instructions }

    /// The program for a policy.
    /// - Throws: which rule libseccomp does not take.
    public init(_ policy: Policy) throws(JailError) {
        guard let filter = unsafe seccomp_init(swv_seccomp_trap()) else {
            throw JailError("The jail cannot be closed: the host has no room for a system call filter.")
        }
        defer { unsafe seccomp_release(filter) }
        for rule in policy.rules {
            let action = rule.error.map { swv_seccomp_error($0) } ?? swv_seccomp_allow()
            let result = unsafe swv_seccomp_rule(
                filter, action, rule.number, rule.comparisons.map(\.index), rule.comparisons.map(\.mask), rule.comparisons.map(\.value),
                UInt32(rule.comparisons.count))
            guard result == 0 || result == -EEXIST else {
                throw JailError("The jail cannot be closed: no rule for \(rule.name) can be made (\(Errno(rawValue: 0 - result))).")
            }
        }
        // Binary search over the calls: what is most frequent need not come first.
        _ = unsafe seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2)
        // Calls by the numbers of another architecture, none of which is allowed, are reported like the others.
        _ = unsafe seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, swv_seccomp_trap())
        do throws(SystemError) {
            let file = try makeMemoryFile(name: "filter", size: 0)
            let result = unsafe seccomp_export_bpf(filter, file.rawValue)
            guard result == 0 else { throw SystemError("seccomp_export_bpf", Errno(rawValue: 0 - result)) }
            try file.rewind()
            let bytes = try file.readWhole(limit: Self.mostBytes)
            instructions = stride(from: 0, to: bytes.count - bytes.count % 8, by: 8).map { start in
                bytes[start..<start + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
            }
        } catch {
            throw JailError("The jail cannot be closed: the system call filter cannot be made (\(error)).")
        }
    }

    /// The filter for a kind of process whose policy is built in; nil for an unknown kind.
    public static func builtIn(_ kind: String) -> SystemCallFilter? { program(kind).map { SystemCallFilter(instructions: $0) } }

    /// What the kernel takes at most: 4096 instructions.
    private static let mostBytes = 4096 * 8

    /// From now on this thread, which is the only one, can make the calls that the policy allows, and so can all that it starts.
    func load() throws(JailError) {
        let result = unsafe instructions.withUnsafeBufferPointer { instructions in
            unsafe swv_filter_system_calls(instructions.baseAddress, UInt32(clamping: instructions.count))
        }
        guard result == 0 else {
            throw JailError("The jail cannot be closed: the host does not take the system call filter (\(Errno.current)).")
        }
    }
}
