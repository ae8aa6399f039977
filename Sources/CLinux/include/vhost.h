#ifndef SWVMM_CLINUX_VHOST_H
#define SWVMM_CLINUX_VHOST_H

// /dev/vhost-vdpa-N (linux/vhost.h, linux/vhost_types.h): request numbers, which their headers compute in a way that Swift cannot see, and
// structures, some of which are younger than the headers that this may be compiled with.

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

struct swv_vring_state {
    uint32_t index, number;
};

struct swv_vring_file {
    uint32_t index;
    int32_t fd; // -1 unbinds
};

struct swv_vring_addresses {
    uint32_t index, flags;
    uint64_t descriptor_area, device_area, driver_area, log;
};

struct swv_iova_range {
    uint64_t first, last;
};

// struct vhost_vdpa_config without the bytes behind it.
struct swv_vdpa_config {
    uint32_t offset, length;
};

enum swv_vhost_request {
    SWV_VHOST_GET_FEATURES = _IOR(0xaf, 0x00, uint64_t),
    SWV_VHOST_SET_FEATURES = _IOW(0xaf, 0x00, uint64_t),
    SWV_VHOST_SET_OWNER = _IO(0xaf, 0x01),
    SWV_VHOST_SET_VRING_NUM = _IOW(0xaf, 0x10, struct swv_vring_state),
    SWV_VHOST_SET_VRING_ADDR = _IOW(0xaf, 0x11, struct swv_vring_addresses),
    SWV_VHOST_SET_VRING_BASE = _IOW(0xaf, 0x12, struct swv_vring_state),
    SWV_VHOST_GET_VRING_BASE = _IOWR(0xaf, 0x12, struct swv_vring_state),
    SWV_VHOST_SET_VRING_KICK = _IOW(0xaf, 0x20, struct swv_vring_file),
    SWV_VHOST_SET_VRING_CALL = _IOW(0xaf, 0x21, struct swv_vring_file),
    SWV_VHOST_SET_VRING_ERR = _IOW(0xaf, 0x22, struct swv_vring_file),
    SWV_VHOST_SET_BACKEND_FEATURES = _IOW(0xaf, 0x25, uint64_t),
    SWV_VHOST_GET_BACKEND_FEATURES = _IOR(0xaf, 0x26, uint64_t),

    SWV_VDPA_GET_DEVICE_ID = _IOR(0xaf, 0x70, uint32_t),
    SWV_VDPA_GET_STATUS = _IOR(0xaf, 0x71, uint8_t),
    SWV_VDPA_SET_STATUS = _IOW(0xaf, 0x72, uint8_t),
    SWV_VDPA_GET_CONFIG = _IOR(0xaf, 0x73, struct swv_vdpa_config),
    SWV_VDPA_SET_CONFIG = _IOW(0xaf, 0x74, struct swv_vdpa_config),
    SWV_VDPA_SET_VRING_ENABLE = _IOW(0xaf, 0x75, struct swv_vring_state),
    SWV_VDPA_GET_VRING_NUM = _IOR(0xaf, 0x76, uint16_t),
    SWV_VDPA_SET_CONFIG_CALL = _IOW(0xaf, 0x77, int32_t),
    SWV_VDPA_GET_IOVA_RANGE = _IOR(0xaf, 0x78, struct swv_iova_range),
    SWV_VDPA_GET_CONFIG_SIZE = _IOR(0xaf, 0x79, uint32_t),
    SWV_VDPA_GET_AS_NUM = _IOR(0xaf, 0x7a, uint32_t),
    SWV_VDPA_GET_VRING_GROUP = _IOWR(0xaf, 0x7b, struct swv_vring_state),
    SWV_VDPA_SET_GROUP_ASID = _IOW(0xaf, 0x7c, struct swv_vring_state),
    SWV_VDPA_SUSPEND = _IO(0xaf, 0x7d),
    SWV_VDPA_RESUME = _IO(0xaf, 0x7e),
    SWV_VDPA_GET_VQS_COUNT = _IOR(0xaf, 0x80, uint32_t),
    SWV_VDPA_GET_GROUP_NUM = _IOR(0xaf, 0x81, uint32_t),
};

// A request without an argument.
static inline int swv_vhost_plain(int fd, enum swv_vhost_request request) { return ioctl(fd, request, 0); }

// A request whose argument is a structure or a number that lies at `argument`.
static inline int swv_vhost_structure(int fd, enum swv_vhost_request request, void *argument) { return ioctl(fd, request, argument); }

// GET_CONFIG and SET_CONFIG: `area` has room for the structure and, behind it, `length` bytes.
static inline int swv_vdpa_config(int fd, enum swv_vhost_request request, uint32_t offset, uint32_t length, unsigned char *area) {
    struct swv_vdpa_config config = {.offset = offset, .length = length};
    memcpy(area, &config, sizeof config);
    return ioctl(fd, request, area);
}

// What is written to the descriptor to change the I/O page table: struct vhost_msg, of which vhost_msg_v2 has the address space in the
// place of padding.
struct swv_iotlb_message {
    uint32_t type;
    uint32_t asid;
    uint64_t iova, size, address;
    uint8_t permission, kind;
    uint8_t rest[38];
};
_Static_assert(sizeof(struct swv_iotlb_message) == 72, "size of struct vhost_msg");

static inline ssize_t swv_iotlb_write(int fd, const struct swv_iotlb_message *message) { return write(fd, message, sizeof *message); }

// How many bytes this process may lock; UINT64_MAX: as many as it likes.
static inline uint64_t swv_memory_lock_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
    return limit.rlim_cur;
}

#endif
