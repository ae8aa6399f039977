import Glibc

/// What this host has.
public enum HostFacts {
    /// Processors that are online.
    public static var processorCount: Int { max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 1) }

    /// Whether this process is root's.
    public static var isRoot: Bool { geteuid() == 0 }

    /// Memory in bytes; nil when the kernel does not say.
    public static var memorySize: UInt64? {
        let pages = sysconf(Int32(_SC_PHYS_PAGES))
        let size = sysconf(Int32(_SC_PAGESIZE))
        guard pages > 0, size > 0 else { return nil }
        return UInt64(pages) * UInt64(size)
    }
}
