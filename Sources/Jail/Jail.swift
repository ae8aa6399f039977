import CCapability
import CLinux
import CSeccomp
import Glibc
import Host

/// Takes from this process, for ever, what it does not need to serve a device: from then on it can neither open, nor reach, nor become
/// anything.
public enum ProcessJail {
    /// What is kept.
    public struct Settings: Sendable {
        /// The system calls that may be made.
        public let policy: Policy
        /// Where a forbidden one is reported before the process ends: a line of JSON.
        public let report: Int32
        /// The most descriptors that may be open.
        public var descriptorLimit: UInt64 = 256

        /// A jail.
        public init(policy: Policy, report: Int32) {
            self.policy = policy
            self.report = report
        }
    }

    /// User and group of a process that was started by root: they own nothing.
    static let nobody: UInt32 = 65534

    /// Closes the jail. The process has one thread, and namespaces of its own (`Namespaces.all`, and `users` unless root started it).
    ///
    /// In this order, because each step needs what the next one takes: root directory, limits, identity, capabilities, no_new_privs, system
    /// calls.
    public static func close(_ settings: Settings, inUserNamespace: Bool) throws(JailError) {
        swv_limit_arenas()
        // With the first thread libc installs a signal handler of its own, which is not allowed later.
        do { _ = try WorkerThread(name: "first", state: true) { _, _ in }.stop() } catch {
            throw JailError("The jail cannot be closed: no thread can be started (\(error)).")
        }
        try step("take the root directory away") { swv_empty_root() }
        try step("limit core files") { swv_limit(Int32(RLIMIT_CORE.rawValue), 0) }
        try step("limit descriptors") { swv_limit(Int32(RLIMIT_NOFILE.rawValue), settings.descriptorLimit) }
        // Bounding set and secure bits first, for which one needs capabilities: no exec could bring any back.
        try step("bound capabilities") { boundCapabilities() }
        try step("lock secure bits") { swv_lock_secure_bits() }
        // In a user namespace there is one identity only, and it is the user's own.
        if !inUserNamespace { try step("become nobody") { swv_become(nobody, nobody) } }
        try step("drop capabilities") { dropCapabilities() }
        try step("renounce privileges") { swv_no_new_privileges() }
        try step("report violations") { swv_report_violations(settings.report) }
        try load(settings.policy)
    }

    private static func step(_ what: String, _ body: () -> Int32) throws(JailError) {
        guard body() == 0 else { throw JailError("The jail cannot be closed: the host could not \(what) (\(Errno.current)).") }
    }

    private static func boundCapabilities() -> Int32 {
        var capability: cap_value_t = 0
        // The first number that the kernel does not know is the end.
        while cap_get_bound(capability) >= 0 {
            guard cap_drop_bound(capability) == 0 else { return -1 }
            capability += 1
        }
        return 0
    }

    /// Effective, permitted, inheritable and, with them, ambient.
    private static func dropCapabilities() -> Int32 {
        guard let none = unsafe cap_init() else { return -1 }
        defer { unsafe cap_free(UnsafeMutableRawPointer(none)) }
        return unsafe cap_set_proc(none)
    }

    private static func load(_ policy: Policy) throws(JailError) {
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
        _ = unsafe seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1)
        // Calls by the numbers of another architecture, none of which is allowed, are reported like the others.
        _ = unsafe seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, swv_seccomp_trap())
        let result = unsafe seccomp_load(filter)
        guard result == 0 else {
            throw JailError("The jail cannot be closed: the host does not take the system call filter (\(Errno(rawValue: 0 - result))).")
        }
    }
}
