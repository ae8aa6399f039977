import Glibc

/// What this host has.
public enum HostFacts {
    /// Processors that are online.
    public static var processorCount: Int { max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 1) }

    /// Whether this process is root's.
    public static var isRoot: Bool { geteuid() == 0 }

    /// Descriptors that this process may ever have open (the hard limit).
    public static var descriptorLimit: UInt64 {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 0 }
        return UInt64(limit.rlim_max)
    }

    /// Memory in bytes; nil when the kernel does not say.
    public static var memorySize: UInt64? {
        let pages = sysconf(Int32(_SC_PHYS_PAGES))
        let size = sysconf(Int32(_SC_PAGESIZE))
        guard pages > 0, size > 0 else { return nil }
        return UInt64(pages) * UInt64(size)
    }
}
