import CSeccomp
import Glibc

/// The names of system calls.
public enum SystemCalls {
    /// The number of a call on this architecture; nil when there is none of that name.
    static func number(of name: String) -> Int32? {
        let number = unsafe seccomp_syscall_resolve_name(name)
        return number >= 0 ? number : nil
    }

    /// The name of a call that was reported: its number, and that of the architecture as the kernel says it (AUDIT_ARCH_…).
    public static func name(of number: Int, architecture: UInt32) -> String {
        guard let number = Int32(exactly: number), let name = unsafe seccomp_syscall_resolve_num_arch(architecture, number) else {
            return "number \(number)"
        }
        defer { unsafe free(name) }
        return unsafe String(cString: name)
    }
}
