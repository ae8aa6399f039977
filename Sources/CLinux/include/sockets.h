#ifndef SWVMM_CLINUX_SOCKETS_H
#define SWVMM_CLINUX_SOCKETS_H

// Unix stream sockets. struct sockaddr_un holds its path in a fixed array, which Swift sees as a tuple of 108 elements.

#include <errno.h>
#include <linux/sockios.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

// accept4(2) and pipe2(2) stand behind _GNU_SOURCE in libc's headers.
int pipe2(int ends[2], int flags);
int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);

// Fills an address; its length, or 0 with errno when the path does not fit (107 bytes).
static inline socklen_t swv_unix_address(struct sockaddr_un *address, const char *path) {
    size_t length = strlen(path);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (length == 0 || length >= sizeof address->sun_path) {
        errno = length == 0 ? EINVAL : ENAMETOOLONG;
        return 0;
    }
    memcpy(address->sun_path, path, length);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
}

static inline int swv_unix_bind(int fd, const char *path) {
    struct sockaddr_un address;
    socklen_t length = swv_unix_address(&address, path);
    return length == 0 ? -1 : bind(fd, (struct sockaddr *)&address, length);
}

static inline int swv_unix_connect(int fd, const char *path) {
    struct sockaddr_un address;
    socklen_t length = swv_unix_address(&address, path);
    return length == 0 ? -1 : connect(fd, (struct sockaddr *)&address, length);
}

// Like writev, but a peer that has gone is EPIPE and not the signal SIGPIPE.
static inline ssize_t swv_send_vectors(int fd, const struct iovec *vectors, size_t count) {
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = (struct iovec *)vectors;
    message.msg_iovlen = count;
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

// Bytes in a socket's send queue that the peer has not read yet.
static inline int swv_socket_unread(int fd, int *count) { return ioctl(fd, SIOCOUTQ, count); }

// POLLRDHUP, which stands behind _GNU_SOURCE.
#define SWV_POLLRDHUP 0x2000

#endif
