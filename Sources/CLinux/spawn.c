#define _GNU_SOURCE
#include "include/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <stdint.h>
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
static void become(const struct swv_spawn *request, int report, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // The parent may have died before that call.
    if (getppid() != parent) _exit(127);
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

pid_t swv_spawn(const struct swv_spawn *request, int *pidfd) {
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0) return -1;
    pid_t parent = getpid();
    int descriptor = -1;
    struct clone_args args;
    memset(&args, 0, sizeof args);
    args.flags = CLONE_PIDFD;
    args.pidfd = (uint64_t)(uintptr_t)&descriptor;
    args.exit_signal = SIGCHLD;
    // No signal handler of ours may run in the child before it has reset them.
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t child = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (child == 0) {
        become(request, report[1], parent);
        int error = errno;
        (void)!write(report[1], &error, sizeof error);
        _exit(127);
    }
    int error = errno;
    sigprocmask(SIG_SETMASK, &before, 0);
    close(report[1]);
    if (child < 0) {
        close(report[0]);
        errno = error;
        return -1;
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
