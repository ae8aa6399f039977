#ifndef SWVMM_CLINUX_FDPASS_H
#define SWVMM_CLINUX_FDPASS_H

// Descriptors that travel with the bytes of a Unix socket (SCM_RIGHTS). The CMSG_ macros are beyond Swift.

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// The most descriptors that are taken with one message. The kernel lets 253 through.
#define SWV_MOST_PASSED 64

// MSG_CMSG_CLOEXEC, which stands behind _GNU_SOURCE.
#define SWV_MSG_CMSG_CLOEXEC 0x40000000

// Reads up to `count` bytes and the descriptors that came with them, which are close-on-exec. Returns what recvmsg does; `fds` has room for
// SWV_MOST_PASSED. More than that is EMSGSIZE, and none is kept.
static inline ssize_t swv_receive_passed(int socket, void *bytes, size_t count, int *fds, size_t *fd_count) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(SWV_MOST_PASSED * sizeof(int))];
    } control;
    struct iovec vector = {bytes, count};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    *fd_count = 0;
    ssize_t result = recvmsg(socket, &message, SWV_MSG_CMSG_CLOEXEC);
    if (result < 0) return result;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part != NULL; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        size_t some = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < some; index++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + index * sizeof(int), sizeof fd);
            if (*fd_count < SWV_MOST_PASSED) fds[(*fd_count)++] = fd;
            else close(fd);
        }
    }
    if (message.msg_flags & MSG_CTRUNC) {
        while (*fd_count > 0) close(fds[--*fd_count]);
        errno = EMSGSIZE;
        return -1;
    }
    return result;
}

// Writes bytes and passes descriptors with the first of them; a peer that has gone is EPIPE and no signal.
static inline ssize_t swv_send_passing(int socket, const void *bytes, size_t count, const int *fds, size_t fd_count) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(SWV_MOST_PASSED * sizeof(int))];
    } control;
    struct iovec vector = {(void *)bytes, count};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    if (fd_count > SWV_MOST_PASSED) {
        errno = EMSGSIZE;
        return -1;
    }
    if (fd_count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(part), fds, fd_count * sizeof(int));
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL);
}

#endif
