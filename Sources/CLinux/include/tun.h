#ifndef SWVMM_CLINUX_TUN_H
#define SWVMM_CLINUX_TUN_H

// tap interfaces: the ioctls of linux/if_tun.h, and those of a network interface that has a name. Numbers made with _IOW are not
// visible to Swift. Every function returns 0 or -1 with errno, like the call that it wraps.

#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SWV_TAP_NAME_SIZE 16

// unshare(2) stands behind _GNU_SOURCE in libc's headers.
int unshare(int flags);
#define SWV_CLONE_NEWNET 0x40000000

static inline void swv_tun_name(struct ifreq *request, const char *name) {
    memset(request, 0, sizeof *request);
    strncpy(request->ifr_name, name, sizeof request->ifr_name - 1);
}

// Makes or joins the interface `name` (16 bytes, in and out: the kernel fills in a pattern such as tap%d).
static inline int swv_tun_set_interface(int fd, char *name, int flags) {
    struct ifreq request;
    swv_tun_name(&request, name);
    request.ifr_flags = (short)flags;
    if (ioctl(fd, TUNSETIFF, &request) != 0) return -1;
    memcpy(name, request.ifr_name, SWV_TAP_NAME_SIZE);
    name[SWV_TAP_NAME_SIZE - 1] = 0;
    return 0;
}

// The name (16 bytes) and flags of the interface that the descriptor belongs to.
static inline int swv_tun_get_interface(int fd, char *name, int *flags) {
    struct ifreq request;
    memset(&request, 0, sizeof request);
    if (ioctl(fd, TUNGETIFF, &request) != 0) return -1;
    memcpy(name, request.ifr_name, SWV_TAP_NAME_SIZE);
    name[SWV_TAP_NAME_SIZE - 1] = 0;
    *flags = (unsigned short)request.ifr_flags;
    return 0;
}

static inline int swv_tun_set_header_size(int fd, int size) { return ioctl(fd, TUNSETVNETHDRSZ, &size); }

static inline int swv_tun_set_offload(int fd, unsigned long offloads) { return ioctl(fd, TUNSETOFFLOAD, offloads); }

static inline int swv_tun_set_persistent(int fd, int on) { return ioctl(fd, TUNSETPERSIST, (unsigned long)on); }

static inline int swv_tun_set_queue(int fd, int attached) {
    struct ifreq request;
    memset(&request, 0, sizeof request);
    request.ifr_flags = attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
    return ioctl(fd, TUNSETQUEUE, &request);
}

// Flags of the interface `name`, changed: what is in `set` is added. `fd` is any socket.
static inline int swv_if_raise(int fd, const char *name, int set) {
    struct ifreq request;
    swv_tun_name(&request, name);
    if (ioctl(fd, SIOCGIFFLAGS, &request) != 0) return -1;
    request.ifr_flags = (short)(request.ifr_flags | set);
    return ioctl(fd, SIOCSIFFLAGS, &request);
}

static inline int swv_if_get_mtu(int fd, const char *name, int *mtu) {
    struct ifreq request;
    swv_tun_name(&request, name);
    if (ioctl(fd, SIOCGIFMTU, &request) != 0) return -1;
    *mtu = request.ifr_mtu;
    return 0;
}

static inline int swv_if_set_mtu(int fd, const char *name, int mtu) {
    struct ifreq request;
    swv_tun_name(&request, name);
    request.ifr_mtu = mtu;
    return ioctl(fd, SIOCSIFMTU, &request);
}

static inline int swv_if_get_mac(int fd, const char *name, unsigned char *mac) {
    struct ifreq request;
    swv_tun_name(&request, name);
    if (ioctl(fd, SIOCGIFHWADDR, &request) != 0) return -1;
    memcpy(mac, request.ifr_hwaddr.sa_data, 6);
    return 0;
}

#endif
