#ifndef SWVMM_CLINUX_VDUSE_H
#define SWVMM_CLINUX_VDUSE_H

// /dev/vduse/control and /dev/vduse/NAME (linux/vduse.h), for the same reasons as vhost.h.

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

// struct vduse_dev_config without the bytes behind it.
struct swv_vduse_config {
    char name[256];
    uint32_t vendor, device;
    uint64_t features;
    uint32_t queue_count, queue_alignment;
    uint32_t reserved[13];
    uint32_t size;
};
_Static_assert(sizeof(struct swv_vduse_config) == 336, "size of struct vduse_dev_config");

struct swv_vduse_entry {
    uint64_t offset, first, last;
    uint8_t permission; // 1: to be read, 2: to be written
};

struct swv_vduse_window {
    uint32_t offset, length;
};

struct swv_vduse_queue {
    uint32_t index;
    uint16_t largest;
    uint16_t reserved[13];
};

// The state of a queue is the available index (split), or four numbers (packed).
struct swv_vduse_queue_info {
    uint32_t index, size;
    uint64_t descriptor_area, driver_area, device_area;
    uint16_t state[4];
    uint8_t ready;
};

struct swv_vduse_kick {
    uint32_t index;
    int32_t fd;
};

// struct vduse_dev_request without its union: which fields are meant depends on the type.
struct swv_vduse_request {
    uint32_t type, id;
    uint32_t index;       // GET_VQ_STATE
    uint8_t status;       // SET_STATUS
    uint64_t first, last; // UPDATE_IOTLB
};

struct swv_vduse_response {
    uint32_t id, result;
    uint32_t reserved[4];
    uint32_t index; // GET_VQ_STATE
    uint16_t state[4];
    uint32_t rest[29];
};
_Static_assert(sizeof(struct swv_vduse_response) == 152, "size of struct vduse_dev_response");

enum swv_vduse_call {
    SWV_VDUSE_SET_API_VERSION = _IOW(0x81, 0x01, uint64_t),
    SWV_VDUSE_CREATE_DEV = _IOW(0x81, 0x02, struct swv_vduse_config),
    SWV_VDUSE_DESTROY_DEV = _IOW(0x81, 0x03, char[256]),
    SWV_VDUSE_IOTLB_GET_FD = _IOWR(0x81, 0x10, struct swv_vduse_entry),
    SWV_VDUSE_DEV_GET_FEATURES = _IOR(0x81, 0x11, uint64_t),
    SWV_VDUSE_DEV_SET_CONFIG = _IOW(0x81, 0x12, struct swv_vduse_window),
    SWV_VDUSE_DEV_INJECT_CONFIG_IRQ = _IO(0x81, 0x13),
    SWV_VDUSE_VQ_SETUP = _IOW(0x81, 0x14, struct swv_vduse_queue),
    SWV_VDUSE_VQ_GET_INFO = _IOWR(0x81, 0x15, struct swv_vduse_queue_info),
    SWV_VDUSE_VQ_SETUP_KICKFD = _IOW(0x81, 0x16, struct swv_vduse_kick),
    SWV_VDUSE_VQ_INJECT_IRQ = _IOW(0x81, 0x17, uint32_t),
};

// A request without an argument.
static inline int swv_vduse_plain(int fd, enum swv_vduse_call call) { return ioctl(fd, call, 0); }

// A request whose argument is a structure or a number that lies at `argument`.
static inline int swv_vduse_structure(int fd, enum swv_vduse_call call, void *argument) { return ioctl(fd, call, argument); }

// The next request of the kernel: 1, or -1 with errno (EAGAIN: there is none).
static inline int swv_vduse_receive(int fd, struct swv_vduse_request *request) {
    unsigned char bytes[152];
    ssize_t count = read(fd, bytes, sizeof bytes);
    if (count < 0) return -1;
    if (count != sizeof bytes) {
        errno = EIO;
        return -1;
    }
    memset(request, 0, sizeof *request);
    memcpy(&request->type, bytes, sizeof request->type);
    memcpy(&request->id, bytes + 4, sizeof request->id);
    memcpy(&request->index, bytes + 24, sizeof request->index);
    memcpy(&request->status, bytes + 24, sizeof request->status);
    memcpy(&request->first, bytes + 24, sizeof request->first);
    memcpy(&request->last, bytes + 32, sizeof request->last);
    return 1;
}

static inline ssize_t swv_vduse_respond(int fd, const struct swv_vduse_response *response) {
    return write(fd, response, sizeof *response);
}

// CREATE_DEV: a device with `config` as its configuration space.
static inline int swv_vduse_create(
    int fd, const char *name, uint32_t device, uint64_t features, uint32_t queue_count, uint32_t alignment, const unsigned char *config,
    uint32_t size) {
    struct swv_vduse_config *request = calloc(1, sizeof *request + size);
    if (!request) return -1;
    strncpy(request->name, name, sizeof request->name - 1);
    request->device = device;
    request->features = features;
    request->queue_count = queue_count;
    request->queue_alignment = alignment;
    request->size = size;
    memcpy(request + 1, config, size);
    int result = ioctl(fd, SWV_VDUSE_CREATE_DEV, request);
    int error = errno;
    free(request);
    errno = error;
    return result;
}

static inline int swv_vduse_destroy(int fd, const char *name) {
    char area[256];
    memset(area, 0, sizeof area);
    strncpy(area, name, sizeof area - 1);
    return ioctl(fd, SWV_VDUSE_DESTROY_DEV, area);
}

// DEV_SET_CONFIG: `area` has room for the structure and, behind it, `length` bytes.
static inline int swv_vduse_set_config(int fd, uint32_t offset, uint32_t length, unsigned char *area) {
    struct swv_vduse_window window = {.offset = offset, .length = length};
    memcpy(area, &window, sizeof window);
    return ioctl(fd, SWV_VDUSE_DEV_SET_CONFIG, area);
}

#endif
