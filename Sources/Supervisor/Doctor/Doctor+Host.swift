import CLinux
import Host

// What the host offers besides KVM. Each look opens something for a moment and changes nothing.

extension Doctor {
    static func hostFindings() -> [Finding] {
        [
            device(
                "tun", "/dev/net/tun", writable: true, detail: "tap interfaces for net devices",
                remedy: "load the module (modprobe tun) and give yourself access to /dev/net/tun, or use the \"user\" back-end"),
            passt(),
            ioURing(),
            device(
                "vhost-net", "/dev/vhost-net", writable: true, detail: "in-kernel network back-end",
                remedy: "load the module (modprobe vhost_net)"),
            vdpa(),
            device(
                "vduse", "/dev/vduse/control", writable: true, detail: "devices of ours for the host's kernel",
                remedy: "load the module (modprobe vduse), and be root or give yourself access to /dev/vduse/control"),
            userfaultfd(),
            userNamespaces(),
            seccomp(),
        ]
    }

    private static func device(_ name: String, _ path: String, writable: Bool, detail: String, remedy: String) -> Finding {
        do {
            _ = try OwnedDescriptor.open(path, flags: writable ? O_RDWR : O_RDONLY)
            return Finding(name: name, isPresent: true, detail: "\(path) opens: \(detail)", remedy: nil, need: .optional)
        } catch {
            return Finding(name: name, isPresent: false, detail: "\(path): \(error.errno)", remedy: remedy, need: .optional)
        }
    }

    private static func passt() -> Finding {
        let found = findProgram("passt")
        return Finding(
            name: "passt", isPresent: found != nil, detail: found.map { "\($0): networking without privileges" } ?? "not found in PATH",
            remedy: "install the package passt", need: .optional)
    }

    private static func ioURing() -> Finding {
        let present = IOURing.isAvailable
        return Finding(
            name: "io_uring", isPresent: present,
            detail: present ? "disks use it" : "not available: disks use one system call per request",
            remedy: "sysctl kernel.io_uring_disabled=0", need: .optional)
    }

    private static func vdpa() -> Finding {
        let nodes = (0..<64).map { "/dev/vhost-vdpa-\($0)" }.filter { pathExists($0) }
        guard let first = nodes.first else {
            return Finding(
                name: "vhost-vdpa", isPresent: false, detail: "no /dev/vhost-vdpa-N",
                remedy: "load the module (modprobe vhost_vdpa) and make a device (vdpa dev add)", need: .optional)
        }
        // Opening one would reset the device, and keep others from it for a moment.
        let usable = nodes.filter { pathIsWritable($0) }
        return Finding(
            name: "vhost-vdpa", isPresent: !usable.isEmpty,
            detail: usable.isEmpty
                ? "\(first): \(Errno.accessDenied)" : "\(usable.joined(separator: ", ")): devices of the kernel for a guest",
            remedy: "give yourself access to the node (chown or chmod, or a rule of udev)", need: .optional)
    }

    private static func userfaultfd() -> Finding {
        let present = pathExists("/dev/userfaultfd") || firstLine(of: "/proc/sys/vm/unprivileged_userfaultfd") != nil
        return Finding(
            name: "userfaultfd", isPresent: present, detail: present ? "the kernel has it" : "the kernel lacks it",
            remedy: "use a kernel with CONFIG_USERFAULTFD", need: .optional)
    }

    private static func userNamespaces() -> Finding {
        let limit = firstLine(of: "/proc/sys/user/max_user_namespaces").flatMap { Int($0) } ?? 0
        let forbidden = firstLine(of: "/proc/sys/kernel/unprivileged_userns_clone") == "0"
        return Finding(
            name: "user-namespaces", isPresent: limit > 0 && !forbidden,
            detail: limit == 0 ? "switched off" : forbidden ? "for root only" : "up to \(limit)",
            remedy: "sysctl user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1", need: .optional)
    }

    private static func seccomp() -> Finding {
        let actions = firstLine(of: "/proc/sys/kernel/seccomp/actions_avail")
        let present = actions?.split(separator: " ").contains("trap") ?? false
        return Finding(
            name: "seccomp", isPresent: present, detail: actions.map { "actions: \($0)" } ?? "the kernel lacks it",
            remedy: "use a kernel with CONFIG_SECCOMP_FILTER", need: .optional)
    }

    private static func firstLine(of path: String) -> String? {
        guard let bytes = try? readWholeFile(path, limit: 4096) else { return nil }
        return bytes.split(separator: UInt8(ascii: "\n")).first.map { String(decoding: $0, as: UTF8.self) }
    }
}
