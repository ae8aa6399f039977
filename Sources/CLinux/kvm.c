#define _GNU_SOURCE
#include "kvm.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

// A real-time signal: nobody sends one by accident, and libraries leave them alone.
static int kick_signal(void) { return SIGRTMIN; }

// Being delivered is its whole effect: the system call returns EINTR.
static void on_kick(int signal) { (void)signal; }

static pthread_once_t handler_once = PTHREAD_ONCE_INIT;

static void install_handler(void) {
    // Without SA_RESTART, so that the interrupted call returns.
    struct sigaction action = {.sa_handler = on_kick};
    sigemptyset(&action.sa_mask);
    sigaction(kick_signal(), &action, NULL);
}

void swv_kvm_prepare_process(void) { pthread_once(&handler_once, install_handler); }

int swv_kvm_enter_thread(void) {
    static _Thread_local int thread;
    if (thread == 0) {
        swv_kvm_prepare_process();
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, kick_signal());
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        thread = (int)syscall(SYS_gettid);
    }
    return thread;
}

void swv_kvm_kick(int thread) { syscall(SYS_tgkill, getpid(), thread, kick_signal()); }
