#ifndef SWVMM_CLINUX_SPAWN_H
#define SWVMM_CLINUX_SPAWN_H

// Starting a child: everything between clone and exec, where only async-signal-safe calls are allowed and Swift must not run.

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>

// One descriptor that the child inherits, and its number there.
struct swv_spawn_descriptor {
    int source;
    int target;
};

struct swv_spawn {
    // Absolute path of the program.
    const char *path;
    char *const *arguments;
    char *const *environment;
    const struct swv_spawn_descriptor *descriptors;
    int descriptor_count;
    // Working directory, or null for the parent's.
    const char *directory;
    // Namespaces of its own (CLONE_NEW…). In a user namespace the caller's user and group are 0.
    unsigned long long namespaces;
};

// Starts the program with the given descriptors and no others, default signal handling, in a process group of its own (Ctrl-C on the
// terminal is not meant for it), to be killed when the calling *thread* ends. Returns its process id and stores a pidfd; -1 with errno
// when it could not be started. Without `report` errors of exec are among these. With it the caller goes on while the child is on its
// way to exec, and stores a descriptor there from which an errno can be read when exec has failed, and nothing when it has not.
pid_t swv_spawn(const struct swv_spawn *request, int *pidfd, int *report);

int swv_pidfd_signal(int pidfd, int signal);
// waitid(P_PIDFD): 1 and code and status (as in siginfo_t) when the child has ended, 0 when it has not, -1 with errno.
int swv_pidfd_reap(int pidfd, int *code, int *status, int wait);

#endif
