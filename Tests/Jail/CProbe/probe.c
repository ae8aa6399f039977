#define _GNU_SOURCE
#include "include/probe.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void nothing(void) {}
static void open_file(void) { (void)!open("/etc/passwd", O_RDONLY); }
static void open_root(void) { (void)!open("/", O_RDONLY | O_DIRECTORY); }
static void write_proc(void) { (void)!open("/proc/self/oom_score_adj", O_WRONLY); }
static void inet_socket(void) { socket(AF_INET, SOCK_STREAM, 0); }
static void unix_socket(void) { socket(AF_UNIX, SOCK_STREAM, 0); }
static void do_connect(void) { connect(0, 0, 0); }
static void do_exec(void) { execve("/bin/sh", (char *const[]){"sh", 0}, (char *const[]){0}); }
static void do_fork(void) { syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }
static void do_vfork(void) { syscall(SYS_fork); }
static void do_ptrace(void) { syscall(SYS_ptrace, 16, 1, 0, 0); }
static void read_memory(void) { syscall(SYS_process_vm_readv, 1, 0, 0, 0, 0, 0); }
static void do_mount(void) { syscall(SYS_mount, 0, 0, 0, 0, 0); }
static void set_capabilities(void) { syscall(SYS_capset, 0, 0); }
static void set_user(void) { syscall(SYS_setuid, 0); }
static void do_unshare(void) { unshare(CLONE_NEWUSER); }
static void do_ioctl(void) { ioctl(0, 0x5401, 0); }
static void make_executable(void) { mprotect((void *)0x10000, 4096, PROT_READ | PROT_EXEC); }
static void map_executable(void) { mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }
static void make_ring(void) { syscall(SYS_io_uring_setup, 1, 0); }
static void do_kill(void) { kill(1, SIGTERM); }
static void handle_signal(void) { signal(SIGSYS, SIG_IGN); }
static void load_filter(void) { syscall(SYS_seccomp, 1, 0, 0); }
static void use_keys(void) { syscall(SYS_keyctl, 0, 0, 0, 0, 0); }
static void use_bpf(void) { syscall(SYS_bpf, 0, 0, 0); }
// mmap2's number on i386 is another call's here; the filter knows one architecture.
static void foreign_call(void) { __asm__ volatile("int $0x80" : : "a"(20) : "memory"); }

static const struct {
    const char *name;
    void (*attempt)(void);
} attempts[] = {
    {"nothing", nothing},
    {"open a file", open_file},
    {"open the root directory", open_root},
    {"write to /proc", write_proc},
    {"reach the network", inet_socket},
    {"make a socket", unix_socket},
    {"connect", do_connect},
    {"exec", do_exec},
    {"fork by clone", do_fork},
    {"fork", do_vfork},
    {"ptrace", do_ptrace},
    {"read another process's memory", read_memory},
    {"mount", do_mount},
    {"gain a capability", set_capabilities},
    {"become root", set_user},
    {"make a namespace", do_unshare},
    {"an ioctl off the list", do_ioctl},
    {"make memory executable", make_executable},
    {"map executable memory", map_executable},
    {"make an io_uring", make_ring},
    {"signal a process", do_kill},
    {"handle a signal", handle_signal},
    {"load a filter", load_filter},
    {"use the keyring", use_keys},
    {"use bpf", use_bpf},
    {"call by another architecture's numbers", foreign_call},
};

const char *probe_name(int index) {
    return index >= 0 && index < (int)(sizeof attempts / sizeof attempts[0]) ? attempts[index].name : 0;
}

void probe_attempt(int index) {
    if (probe_name(index)) attempts[index].attempt();
}
