import CCapability
import CLinux
import Glibc
import Host

/// Takes from this process, for ever, what it does not need to serve a device: from then on it can neither open, nor reach, nor become
/// anything.
public enum ProcessJail {
    /// What is kept.
    public struct Settings: Sendable {
        /// The system calls that may be made.
        public let filter: SystemCallFilter
        /// Where a forbidden one is reported before the process ends: a line of JSON.
        public let report: Int32
        /// The most descriptors that may be open.
        public var descriptorLimit: UInt64 = 256
        /// The empty room that it is to enter; nil: it has mount and network namespaces of its own, and empties the former.
        public var room: JailRoom.Door?

        /// A jail.
        public init(filter: SystemCallFilter, report: Int32) {
            self.filter = filter
            self.report = report
        }
    }

    /// User and group of a process that was started by root: they own nothing.
    static let nobody: UInt32 = 65534

    /// Closes the jail. The process has one thread, and namespaces of its own (`Namespaces.all`, and `users` unless root started it; with a
    /// room `Namespaces.besideRoom`).
    ///
    /// In this order, because each step needs what the next one takes: root directory, limits, identity, capabilities, no_new_privs, system
    /// calls.
    public static func close(_ settings: Settings, inUserNamespace: Bool) throws(JailError) {
        swv_limit_arenas()
        // With the first thread libc installs a signal handler of its own, which is not allowed later.
        do { _ = try WorkerThread(name: "first", state: true) { _, _ in }.stop() } catch {
            throw JailError("The jail cannot be closed: no thread can be started (\(error)).")
        }
        if let room = settings.room { try room.enter() } else { try step("take the root directory away") { swv_empty_root() } }
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
        try settings.filter.load()
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
}
