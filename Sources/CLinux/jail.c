#define _GNU_SOURCE
#include "include/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int swv_empty_root(void) {
    // Nothing that happens here may be seen outside, or the other way round.
    if (mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) != 0) return -1;
    // Any directory will do as the place; this one exists wherever Linux runs. One inode: the root itself.
    if (mount("none", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=1,mode=555") != 0) return -1;
    if (chdir("/proc") != 0) return -1;
    // The old root comes to lie over the new one, and is taken away.
    if (syscall(SYS_pivot_root, ".", ".") != 0) return -1;
    if (umount2(".", MNT_DETACH) != 0) return -1;
    if (chdir("/") != 0) return -1;
    return mount(0, "/", 0, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, 0);
}

int swv_make_room(int *mounts, int *network) {
    if (unshare(CLONE_FS | CLONE_NEWNS | CLONE_NEWNET) != 0) return -1;
    *mounts = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (*mounts < 0) return -1;
    *network = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (*network < 0) {
        int error = errno;
        close(*mounts);
        errno = error;
        return -1;
    }
    return 0;
}

int swv_enter_room(int mounts, int network) {
    // Who shares its directories with another thread may not enter. The kernel lets a thread be joined before it has given them up.
    if (unshare(CLONE_FS) != 0) return -1;
    // The network first: afterwards there is no way back to anything.
    if (setns(network, CLONE_NEWNET) != 0) return -1;
    return setns(mounts, CLONE_NEWNS);
}

int swv_filter_system_calls(const unsigned long long *program, unsigned count) {
    _Static_assert(sizeof(struct sock_filter) == sizeof *program, "an instruction has eight bytes");
    struct sock_fprog filter = {(unsigned short)count, (struct sock_filter *)program};
    if (count > BPF_MAXINSNS) {
        errno = E2BIG;
        return -1;
    }
    // For all threads, of which there is one.
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0 ? 0 : -1;
}

int swv_become(unsigned user, unsigned group) {
    // Directly: libc's functions signal all threads, and there is one.
    if (syscall(SYS_setgroups, 0, (void *)0) != 0) return -1;
    if (syscall(SYS_setresgid, group, group, group) != 0) return -1;
    if (syscall(SYS_setresuid, user, user, user) != 0) return -1;
    // The kernel forgets it when the identity changes: a process that hangs would outlive the one that started it.
    return prctl(PR_SET_PDEATHSIG, SIGKILL);
}

int swv_lock_secure_bits(void) {
    return prctl(PR_SET_SECUREBITS,
                 SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                     SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
                 0, 0, 0);
}

int swv_no_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }

int swv_limit(int resource, unsigned long long value) {
    struct rlimit limit = {value, value};
    return setrlimit((__rlimit_resource_t)resource, &limit);
}

void swv_limit_arenas(void) { mallopt(M_ARENA_MAX, 1); }

static int report_descriptor = -1;

static size_t append_number(char *text, size_t length, unsigned long number) {
    char digits[24];
    size_t count = 0;
    do digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    while (count > 0) text[length++] = digits[--count];
    return length;
}

static size_t append_text(char *text, size_t length, const char *more) {
    while (*more) text[length++] = *more++;
    return length;
}

// Only what a signal handler may call, and only what every policy allows.
static void report(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    char text[128];
    size_t length = append_text(text, 0, "{\"seccomp\":");
    length = append_number(text, length, (unsigned)info->si_syscall);
    length = append_text(text, length, ",\"architecture\":");
    length = append_number(text, length, info->si_arch);
    length = append_text(text, length, "}\n");
    (void)!write(report_descriptor, text, length);
    _exit(SWV_VIOLATION_EXIT);
}

int swv_report_violations(int descriptor) {
    report_descriptor = descriptor;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = report;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    return sigaction(SIGSYS, &action, 0);
}
