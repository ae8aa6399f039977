#ifndef SWVMM_CLINUX_BLOCKIO_H
#define SWVMM_CLINUX_BLOCKIO_H

// Files as disks: fallocate, open file description locks, block devices, and what O_DIRECT demands.

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

// linux/falloc.h and linux/fs.h; the latter cannot be included beside sys/mount.h.
#define SWV_FALLOC_FL_KEEP_SIZE 0x01
#define SWV_FALLOC_FL_PUNCH_HOLE 0x02
#define SWV_FALLOC_FL_ZERO_RANGE 0x10

#define SWV_BLKSSZGET _IO(0x12, 104)
#define SWV_BLKGETSIZE64 _IOR(0x12, 114, size_t)
#define SWV_BLKDISCARD _IO(0x12, 119)
#define SWV_BLKPBSZGET _IO(0x12, 123)

long syscall(long number, ...);

static inline long swv_fallocate(int fd, int mode, off_t offset, off_t length) {
    return syscall(SYS_fallocate, fd, mode, offset, length);
}

static inline int swv_block_discard(int fd, unsigned long long offset, unsigned long long count) {
    unsigned long long range[2] = {offset, count};
    return ioctl(fd, SWV_BLKDISCARD, range);
}

// preadv2(2) and pwritev2(2) stand behind _GNU_SOURCE.
#define SWV_RWF_NOWAIT 0x8
ssize_t preadv2(int fd, const struct iovec *ranges, int count, off_t offset, int flags);
ssize_t pwritev2(int fd, const struct iovec *ranges, int count, off_t offset, int flags);

// Whether the file's data lie in memory and nowhere else: tmpfs, and what memfd_create makes.
static inline int swv_file_is_in_memory(int fd) {
    struct statfs facts;
    return fstatfs(fd, &facts) == 0 && facts.f_type == 0x01021994;
}

// F_OFD_SETLK stands behind _GNU_SOURCE.
#define SWV_F_OFD_SETLK 37

// From `start` to the end of every file.
static inline int swv_set_lock(int fd, int type, off_t start) {
    struct flock lock;
    memset(&lock, 0, sizeof lock);
    lock.l_type = (short)type;
    lock.l_whence = SEEK_SET;
    lock.l_start = start;
    return fcntl(fd, SWV_F_OFD_SETLK, &lock);
}

#define SWV_F_OFD_GETLK 36

// 1 when another open file description has an exclusive lock on the file, 0 when none has.
static inline int swv_file_is_locked(int fd) {
    struct flock lock;
    memset(&lock, 0, sizeof lock);
    lock.l_type = F_RDLCK;
    lock.l_whence = SEEK_SET;
    if (fcntl(fd, SWV_F_OFD_GETLK, &lock) != 0) return -1;
    return lock.l_type == F_UNLCK ? 0 : 1;
}

struct swv_file_facts {
    int kind; // 1 regular, 2 block device, 3 directory, 0 anything else
    unsigned long long size;
    unsigned preferred_block;
    unsigned memory_alignment;
    unsigned offset_alignment;
};

// statx(2) tells the alignment of direct I/O since Linux 6.1, in two fields that libc's structure may lack.
static inline void swv_direct_alignment(int fd, unsigned *memory, unsigned *offset) {
    enum { STATX_DIOALIGN_BIT = 0x2000, AT_EMPTY_PATH_BIT = 0x1000, MEMORY_AT = 0x98, OFFSET_AT = 0x9c };
    unsigned char answer[256];
    unsigned mask = 0;
    memset(answer, 0, sizeof answer);
    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH_BIT, STATX_DIOALIGN_BIT, answer) != 0) return;
    memcpy(&mask, answer, sizeof mask);
    if (!(mask & STATX_DIOALIGN_BIT)) return;
    memcpy(memory, answer + MEMORY_AT, sizeof *memory);
    memcpy(offset, answer + OFFSET_AT, sizeof *offset);
}

static inline int swv_file_status(int fd, struct swv_file_facts *facts) {
    struct stat status;
    if (fstat(fd, &status) != 0) return -1;
    memset(facts, 0, sizeof *facts);
    // What nothing on this side of 2030 exceeds, where the kernel does not tell.
    facts->memory_alignment = 4096;
    facts->offset_alignment = 4096;
    facts->preferred_block = (unsigned)status.st_blksize;
    facts->size = (unsigned long long)status.st_size;
    if (S_ISDIR(status.st_mode)) facts->kind = 3;
    if (S_ISREG(status.st_mode)) {
        facts->kind = 1;
        swv_direct_alignment(fd, &facts->memory_alignment, &facts->offset_alignment);
    }
    if (S_ISBLK(status.st_mode)) {
        int logical = 0;
        unsigned physical = 0;
        facts->kind = 2;
        if (ioctl(fd, SWV_BLKGETSIZE64, &facts->size) != 0 || ioctl(fd, SWV_BLKSSZGET, &logical) != 0) return -1;
        if (ioctl(fd, SWV_BLKPBSZGET, &physical) == 0) facts->preferred_block = physical;
        facts->memory_alignment = (unsigned)logical;
        facts->offset_alignment = (unsigned)logical;
    }
    return 0;
}

#endif
