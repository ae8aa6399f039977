#include "include/terminal.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static struct termios guarded_mode;
static volatile sig_atomic_t guarded_descriptor = -1;
static volatile sig_atomic_t handlers_set;

// Faults that end a process without running any of its code, Swift's traps among them.
static const int fatal_signals[] = {SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};
enum { fatal_count = sizeof fatal_signals / sizeof fatal_signals[0] };
static struct sigaction previous[fatal_count];

static void restore_terminal(int number) {
    int fd = guarded_descriptor;
    if (fd >= 0) {
        guarded_descriptor = -1;
        tcsetattr(fd, TCSANOW, &guarded_mode);
    }
    // Whoever handled the signal before (a backtracer, or nobody) sees it when the faulting instruction runs again, or is raised again.
    for (int i = 0; i < fatal_count; i++) {
        if (fatal_signals[i] == number) sigaction(number, &previous[i], 0);
    }
    raise(number);
}

void swv_terminal_guard(int fd, const struct termios *mode) {
    guarded_descriptor = -1;
    guarded_mode = *mode;
    guarded_descriptor = fd;
    if (handlers_set) return;
    handlers_set = 1;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = restore_terminal;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < fatal_count; i++) sigaction(fatal_signals[i], &action, &previous[i]);
}

void swv_terminal_unguard(void) { guarded_descriptor = -1; }
