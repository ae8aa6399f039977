#ifndef SWVMM_CLINUX_JAIL_H
#define SWVMM_CLINUX_JAIL_H

// Closing a jail from inside: the steps that have no Swift form. Each returns 0, or -1 with errno.

// Replaces the root directory by an empty one that nobody can write to. Needs a mount namespace of its own.
int swv_empty_root(void);

// Gives the calling thread mount and network namespaces of its own, and descriptors of both; -1 with errno.
int swv_make_room(int *mounts, int *network);

// Enters such namespaces. The process has one thread.
int swv_enter_room(int mounts, int network);

// Becomes a user and group that own nothing, with no supplementary groups. Needs the capabilities to do so.
int swv_become(unsigned user, unsigned group);

// Sets and locks the secure bits that take from user 0 all that is special about it.
int swv_lock_secure_bits(void);

// From now on only the calls that the program allows (seccomp(2), with `count` instructions as struct sock_filter) can be made.
int swv_filter_system_calls(const unsigned long long *program, unsigned count);

// prctl(PR_SET_NO_NEW_PRIVS).
int swv_no_new_privileges(void);

// Sets both limits of a resource (setrlimit).
int swv_limit(int resource, unsigned long long value);

// Has all threads share malloc's first arena: with the ninth it would look into /sys for the number of processors, and to give memory of any
// but the first back, into /proc.
void swv_limit_arenas(void);

// From now on a forbidden system call writes {"seccomp":NUMBER,"architecture":NUMBER} and a newline to the descriptor, and ends the process
// with this exit code.
#define SWV_VIOLATION_EXIT 159
int swv_report_violations(int descriptor);

#endif
