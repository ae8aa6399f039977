#define _GNU_SOURCE
#include "include/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static void reset_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    for (int number = 1; number < _NSIG; number++) sigaction(number, &action, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, 0);
}

// In the child. Returns only to report an error.
static void become(const struct swv_spawn *request, int report, int ready, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // The parent may have died before that call. In a process namespace of its own a child cannot see that; its sockets tell.
    if (!(request->namespaces & CLONE_NEWPID) && getppid() != parent) _exit(127);
    // The parent says who we are in a user namespace.
    if (request->namespaces & CLONE_NEWUSER) {
        char go;
        if (read(ready, &go, 1) != 1) _exit(127);
    }
    setpgid(0, 0);
    int above = report;
    for (int i = 0; i < request->descriptor_count; i++) {
        if (request->descriptors[i].target > above) above = request->descriptors[i].target;
    }
    // Everything above standard error closes at exec, but for what dup2 puts into its place below.
    if (syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return;
    // First all sources out of the way of all targets, then each to its place: no target can overwrite a source.
    int moved[64];
    if (request->descriptor_count > (int)(sizeof moved / sizeof moved[0])) {
        errno = E2BIG;
        return;
    }
    for (int i = 0; i < request->descriptor_count; i++) {
        moved[i] = fcntl(request->descriptors[i].source, F_DUPFD_CLOEXEC, above + 1);
        if (moved[i] < 0) return;
    }
    int moved_report = fcntl(report, F_DUPFD_CLOEXEC, above + 1);
    if (moved_report < 0) return;
    for (int i = 0; i < request->descriptor_count; i++) {
        if (dup2(moved[i], request->descriptors[i].target) < 0) goto fail;
    }
    if (request->directory && chdir(request->directory) != 0) goto fail;
    reset_signals();
    execve(request->path, request->arguments, request->environment);
fail:;
    int error = errno;
    (void)!write(moved_report, &error, sizeof error);
    _exit(127);
}

static int put(pid_t child, const char *name, const char *text) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)child, name);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t length = (ssize_t)strlen(text);
    int failed = write(file, text, (size_t)length) != length;
    int error = errno;
    close(file);
    errno = error;
    return failed ? -1 : 0;
}

// Makes the caller's user and group 0 in the child's user namespace.
static int map_identities(pid_t child) {
    char text[64];
    if (put(child, "setgroups", "deny") != 0) return -1;
    snprintf(text, sizeof text, "0 %u 1", (unsigned)geteuid());
    if (put(child, "uid_map", text) != 0) return -1;
    snprintf(text, sizeof text, "0 %u 1", (unsigned)getegid());
    return put(child, "gid_map", text);
}

// What a child begins with.
struct start {
    const struct swv_spawn *request;
    int report;
    const int *ready;
    pid_t parent;
};

static int begin(void *argument) {
    const struct start *start = argument;
    // The other end alone keeps the pipe open: it ends when the parent dies.
    close(start->ready[1]);
    become(start->request, start->report, start->ready[0], start->parent);
    int error = errno;
    (void)!write(start->report, &error, sizeof error);
    _exit(127);
}

pid_t swv_spawn(const struct swv_spawn *request, int *pidfd, int *later) {
    int report[2], ready[2];
    if (pipe2(report, O_CLOEXEC) != 0) return -1;
    if (pipe2(ready, O_CLOEXEC) != 0) {
        int error = errno;
        close(report[0]);
        close(report[1]);
        errno = error;
        return -1;
    }
    int descriptor = -1;
    struct start start = {request, report[1], ready, getpid()};
    int flags = CLONE_PIDFD | SIGCHLD | (int)request->namespaces;
    // The child works in our memory while we stand still, which spares a copy of all page tables. One that needs us before it executes
    // cannot, and one that is not waited for has to have its own.
    if (!(request->namespaces & CLONE_NEWUSER) && !later) flags |= CLONE_VM | CLONE_VFORK;
    char stack[32768] __attribute__((aligned(16)));
    // No signal handler of ours may run in the child before it has reset them.
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t child = clone(begin, stack + sizeof stack, flags, &start, &descriptor);
    int error = errno;
    sigprocmask(SIG_SETMASK, &before, 0);
    close(report[1]);
    close(ready[0]);
    int mapping = 0;
    if (child > 0 && (request->namespaces & CLONE_NEWUSER)) {
        mapping = map_identities(child);
        if (mapping != 0) error = errno;
        else if (write(ready[1], "", 1) != 1) mapping = -1;
    }
    close(ready[1]);
    if (child < 0 || mapping != 0) {
        close(report[0]);
        if (child > 0) {
            int code, status;
            swv_pidfd_signal(descriptor, SIGKILL);
            swv_pidfd_reap(descriptor, &code, &status, 1);
            close(descriptor);
        }
        errno = error;
        return -1;
    }
    if (later) {
        *later = report[0];
        *pidfd = descriptor;
        return child;
    }
    // End of file: exec has closed the pipe. The child does nothing in between that could wait.
    ssize_t count;
    do count = read(report[0], &error, sizeof error);
    while (count < 0 && errno == EINTR);
    close(report[0]);
    if (count > 0) {
        int code, status;
        swv_pidfd_reap(descriptor, &code, &status, 1);
        close(descriptor);
        errno = error;
        return -1;
    }
    *pidfd = descriptor;
    return child;
}

int swv_pidfd_signal(int pidfd, int number) { return (int)syscall(SYS_pidfd_send_signal, pidfd, number, 0, 0); }

int swv_pidfd_reap(int pidfd, int *code, int *status, int wait) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    int result;
    do result = waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | (wait ? 0 : WNOHANG));
    while (result != 0 && errno == EINTR);
    if (result != 0) return -1;
    if (info.si_pid == 0) return 0;
    *code = info.si_code;
    *status = info.si_status;
    return 1;
}
