// First, with libc's default features: liburing asks for others, under which fd_set has another definition than elsewhere.
#include <features.h>
#include <sys/select.h>

#include <liburing.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

long syscall(long number, ...);

// What Swift cannot say about a ring: everything that touches the unions of a submission queue entry.

// Queues one entry; 0 when the submission queue is full.
// `on_worker`: a thread of the kernel does it, without a try on ours.
static inline int swv_uring_queue(struct io_uring *ring, int operation, int fd, const void *address, unsigned length,
                                  unsigned long long offset, unsigned flags, int on_worker, unsigned long long token) {
    struct io_uring_sqe *entry = io_uring_get_sqe(ring);
    if (!entry) return 0;
    io_uring_prep_rw(operation, entry, fd, address, length, offset);
    entry->rw_flags = (int)flags;
    if (on_worker) entry->flags |= IOSQE_ASYNC;
    io_uring_sqe_set_data64(entry, token);
    return 1;
}

// Queues fallocate(2), whose length travels where others have an address.
static inline int swv_uring_queue_fallocate(struct io_uring *ring, int fd, int mode, unsigned long long offset,
                                            unsigned long long length, unsigned long long token) {
    struct io_uring_sqe *entry = io_uring_get_sqe(ring);
    if (!entry) return 0;
    io_uring_prep_rw(IORING_OP_FALLOCATE, entry, fd, (const void *)length, (unsigned)mode, offset);
    io_uring_sqe_set_data64(entry, token);
    return 1;
}

// Takes the next completion; 0 when there is none.
static inline int swv_uring_take(struct io_uring *ring, unsigned long long *token, int *result) {
    struct io_uring_cqe *entry = 0;
    unsigned head;
    int found = 0;
    io_uring_for_each_cqe(ring, head, entry) {
        *token = entry->user_data;
        *result = entry->res;
        found = 1;
        break;
    }
    if (found) io_uring_cq_advance(ring, 1);
    return found;
}

// Whether the kernel keeps completions back because the completion queue was full when they came.
static inline int swv_uring_overflown(const struct io_uring *ring) { return io_uring_cq_has_overflow(ring); }

// Makes a ring; a negative error number when that fails. `disabled` rings accept nothing before io_uring_enable_rings.
static inline int swv_uring_make(struct io_uring *ring, unsigned entries, int disabled) {
    struct io_uring_params parameters;
    memset(ring, 0, sizeof *ring);
    memset(&parameters, 0, sizeof parameters);
    parameters.flags = IORING_SETUP_CLAMP | (disabled ? IORING_SETUP_R_DISABLED : 0);
    int result = io_uring_queue_init_params(entries, ring, &parameters);
    if (result < 0) return result;
    // Without the first two, entries would have to outlive their submission, and completions could be dropped. The third came with Linux 5.6,
    // as did the last of the operations that are used here.
    unsigned needed = IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_NODROP | IORING_FEAT_RW_CUR_POS;
    if ((parameters.features & needed) != needed) {
        io_uring_queue_exit(ring);
        return -38; // ENOSYS
    }
    return 0;
}

// Has the ring hold a file until it is gone, which is when nothing that was submitted to it is under way any more. Before the restriction.
static inline int swv_uring_hold(struct io_uring *ring, int fd) {
    return syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_FILES, &fd, 1) < 0 ? -errno : 0;
}

// Allows exactly the given operations and no registration; the ring is enabled afterwards and can never be changed again.
static inline int swv_uring_restrict(struct io_uring *ring, const int *operations, unsigned count) {
    struct io_uring_restriction rules[17];
    if (count > 16) return -22; // EINVAL
    memset(rules, 0, sizeof rules);
    for (unsigned i = 0; i < count; i++) {
        rules[i].opcode = IORING_RESTRICTION_SQE_OP;
        rules[i].sqe_op = (unsigned char)operations[i];
    }
    rules[count].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    rules[count].sqe_flags = IOSQE_ASYNC;
    // Not through liburing: Debian's shared library does not export the two calls, although its static one has them.
    if (syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, rules, count + 1) < 0 ||
        syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, (void *)0, 0) < 0)
        return -errno;
    return 0;
}
