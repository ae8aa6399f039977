#ifndef SWVMM_CLINUX_HOST_H
#define SWVMM_CLINUX_HOST_H

// Kernel interfaces of general use whose headers Swift's Glibc module leaves out.

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

// memfd_create(2) and its seals stand behind _GNU_SOURCE in libc's headers.
#include <linux/memfd.h>
int memfd_create(const char *name, unsigned int flags);

// pthread_setname_np(3), likewise.
int pthread_setname_np(pthread_t thread, const char *name);

// F_ADD_SEALS and the seals (linux/fcntl.h, which cannot be included beside fcntl.h).
#define SWV_F_ADD_SEALS 1033
#define SWV_F_SEAL_SEAL 0x1
#define SWV_F_SEAL_SHRINK 0x2
#define SWV_F_SEAL_GROW 0x4

// Whether a descriptor is of memory that can be touched for ever: a memory file of ordinary pages that nobody can shrink. Huge pages may run
// out where a hole was punched, which the kernel tells with SIGBUS.
static inline int swv_is_sealed_memory(int fd) {
    struct statfs status;
    int seals = fcntl(fd, 1034 /* F_GET_SEALS */);
    return seals >= 0 && (seals & SWV_F_SEAL_SHRINK) != 0 && fstatfs(fd, &status) == 0 && status.f_type == 0x01021994 /* TMPFS_MAGIC */;
}

// Renames, but never over something. File systems that cannot promise it (9p among them) get the next best: a look before the rename.
static inline int swv_rename_exclusively(const char *old_path, const char *new_path) {
    int result = (int)syscall(SYS_renameat2, AT_FDCWD, old_path, AT_FDCWD, new_path, 1 /* RENAME_NOREPLACE */);
    if (result == 0 || (errno != EINVAL && errno != ENOSYS)) return result;
    struct stat status;
    if (lstat(new_path, &status) == 0) {
        errno = EEXIST;
        return -1;
    }
    return rename(old_path, new_path);
}

#endif
