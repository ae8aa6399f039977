#ifndef SWVMM_CLINUX_KVM_H
#define SWVMM_CLINUX_KVM_H

// /dev/kvm: request numbers, which their headers compute in a way that Swift cannot see; the exit record, which is a union; and the
// signal that gets a thread out of KVM_RUN.

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

enum swv_kvm_request {
    SWV_KVM_GET_API_VERSION = KVM_GET_API_VERSION,
    SWV_KVM_CREATE_VM = KVM_CREATE_VM,
    SWV_KVM_CHECK_EXTENSION = KVM_CHECK_EXTENSION,
    SWV_KVM_GET_VCPU_MMAP_SIZE = KVM_GET_VCPU_MMAP_SIZE,
    SWV_KVM_GET_SUPPORTED_CPUID = KVM_GET_SUPPORTED_CPUID,
    SWV_KVM_GET_MSR_INDEX_LIST = KVM_GET_MSR_INDEX_LIST,
    SWV_KVM_GET_MSR_FEATURE_INDEX_LIST = KVM_GET_MSR_FEATURE_INDEX_LIST,

    SWV_KVM_CREATE_VCPU = KVM_CREATE_VCPU,
    SWV_KVM_GET_DIRTY_LOG = KVM_GET_DIRTY_LOG,
    SWV_KVM_SET_USER_MEMORY_REGION = KVM_SET_USER_MEMORY_REGION,
    SWV_KVM_SET_TSS_ADDR = KVM_SET_TSS_ADDR,
    SWV_KVM_SET_IDENTITY_MAP_ADDR = KVM_SET_IDENTITY_MAP_ADDR,
    SWV_KVM_SET_GSI_ROUTING = KVM_SET_GSI_ROUTING,
    SWV_KVM_IRQFD = KVM_IRQFD,
    SWV_KVM_IOEVENTFD = KVM_IOEVENTFD,
    SWV_KVM_SET_CLOCK = KVM_SET_CLOCK,
    SWV_KVM_GET_CLOCK = KVM_GET_CLOCK,
    SWV_KVM_SIGNAL_MSI = KVM_SIGNAL_MSI,
    SWV_KVM_ENABLE_CAP = KVM_ENABLE_CAP,

    SWV_KVM_RUN = KVM_RUN,
    SWV_KVM_GET_REGS = KVM_GET_REGS,
    SWV_KVM_SET_REGS = KVM_SET_REGS,
    SWV_KVM_GET_SREGS = KVM_GET_SREGS,
    SWV_KVM_SET_SREGS = KVM_SET_SREGS,
    SWV_KVM_GET_MSRS = KVM_GET_MSRS,
    SWV_KVM_SET_MSRS = KVM_SET_MSRS,
    SWV_KVM_GET_FPU = KVM_GET_FPU,
    SWV_KVM_SET_FPU = KVM_SET_FPU,
    SWV_KVM_GET_LAPIC = KVM_GET_LAPIC,
    SWV_KVM_SET_LAPIC = KVM_SET_LAPIC,
    SWV_KVM_SET_CPUID2 = KVM_SET_CPUID2,
    SWV_KVM_GET_CPUID2 = KVM_GET_CPUID2,
    SWV_KVM_GET_MP_STATE = KVM_GET_MP_STATE,
    SWV_KVM_SET_MP_STATE = KVM_SET_MP_STATE,
    SWV_KVM_NMI = KVM_NMI,
    SWV_KVM_GET_VCPU_EVENTS = KVM_GET_VCPU_EVENTS,
    SWV_KVM_SET_VCPU_EVENTS = KVM_SET_VCPU_EVENTS,
    SWV_KVM_SET_TSC_KHZ = KVM_SET_TSC_KHZ,
    SWV_KVM_GET_TSC_KHZ = KVM_GET_TSC_KHZ,
    SWV_KVM_GET_DEBUGREGS = KVM_GET_DEBUGREGS,
    SWV_KVM_SET_DEBUGREGS = KVM_SET_DEBUGREGS,
    SWV_KVM_GET_XSAVE = KVM_GET_XSAVE,
    SWV_KVM_SET_XSAVE = KVM_SET_XSAVE,
    SWV_KVM_GET_XSAVE2 = KVM_GET_XSAVE2,
    SWV_KVM_GET_XCRS = KVM_GET_XCRS,
    SWV_KVM_SET_XCRS = KVM_SET_XCRS,
    SWV_KVM_KVMCLOCK_CTRL = KVM_KVMCLOCK_CTRL,
    SWV_KVM_HAS_DEVICE_ATTR = KVM_HAS_DEVICE_ATTR,
    SWV_KVM_GET_DEVICE_ATTR = KVM_GET_DEVICE_ATTR,
    SWV_KVM_SET_DEVICE_ATTR = KVM_SET_DEVICE_ATTR,
};

// A request whose argument is a number, or that has none.
static inline int swv_kvm_value(int fd, enum swv_kvm_request request, unsigned long argument) { return ioctl(fd, request, argument); }

// A request whose argument is a structure.
static inline int swv_kvm_structure(int fd, enum swv_kvm_request request, void *argument) { return ioctl(fd, request, argument); }

// struct kvm_dirty_log hides its pointer in a union.
static inline int swv_kvm_get_dirty_log(int fd, uint32_t slot, void *bitmap) {
    struct kvm_dirty_log log = {.slot = slot, .dirty_bitmap = bitmap};
    return ioctl(fd, KVM_GET_DIRTY_LOG, &log);
}

// The offset of the guest's TSC, an attribute of a virtual processor. The numbers are younger than some headers.
static inline int swv_kvm_tsc_offset(int fd, enum swv_kvm_request request, uint64_t *offset) {
    struct kvm_device_attr attribute = {.group = 0 /* KVM_VCPU_TSC_CTRL */, .attr = 0 /* KVM_VCPU_TSC_OFFSET */, .addr = (uintptr_t)offset};
    return ioctl(fd, request, &attribute);
}

// A route from a GSI to a message: struct kvm_irq_routing_entry without its union, which Swift cannot copy.
struct swv_kvm_msi_route {
    uint32_t gsi, type, flags, pad;
    uint32_t address_lo, address_hi, data, devid;
    uint32_t rest[4];
};
_Static_assert(sizeof(struct swv_kvm_msi_route) == sizeof(struct kvm_irq_routing_entry), "size of a route");
_Static_assert(offsetof(struct swv_kvm_msi_route, address_lo) == offsetof(struct kvm_irq_routing_entry, u.msi.address_lo), "address");
_Static_assert(offsetof(struct swv_kvm_msi_route, data) == offsetof(struct kvm_irq_routing_entry, u.msi.data), "data");

static inline struct swv_kvm_msi_route swv_kvm_make_msi_route(uint32_t gsi, uint64_t address, uint32_t data) {
    return (struct swv_kvm_msi_route){
        .gsi = gsi, .type = KVM_IRQ_ROUTING_MSI, .address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data};
}

// What KVM_RUN came back with. Which fields are meant depends on the reason.
struct swv_kvm_exit {
    uint32_t reason;      // KVM_EXIT_…
    uint8_t is_write;     // IO, MMIO
    uint8_t width;        // IO, MMIO: bytes per element; INTERNAL_ERROR: valid instruction bytes
    uint8_t vector;       // IOAPIC_EOI
    uint32_t count;       // IO: elements
    uint32_t code;        // SYSTEM_EVENT: type; INTERNAL_ERROR: suberror
    uint64_t address;     // IO: port; MMIO: address; FAIL_ENTRY: reason; HYPERCALL: number
    uint64_t data;        // MMIO: value of a write; IO: where the data lies, from the start of kvm_run
    uint8_t bytes[16];    // INTERNAL_ERROR: instruction bytes
};

static inline void swv_kvm_read_exit(const void *area, struct swv_kvm_exit *exit) {
    const struct kvm_run *run = area;
    memset(exit, 0, sizeof *exit);
    exit->reason = run->exit_reason;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        exit->is_write = run->io.direction == KVM_EXIT_IO_OUT;
        exit->width = run->io.size;
        exit->address = run->io.port;
        exit->count = run->io.count;
        exit->data = run->io.data_offset;
        break;
    case KVM_EXIT_MMIO:
        exit->is_write = run->mmio.is_write;
        exit->width = run->mmio.len > 8 ? 8 : run->mmio.len;
        exit->address = run->mmio.phys_addr;
        if (exit->is_write) memcpy(&exit->data, run->mmio.data, exit->width);
        break;
    case KVM_EXIT_IOAPIC_EOI:
        exit->vector = run->eoi.vector;
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        exit->code = run->system_event.type;
        break;
    case KVM_EXIT_FAIL_ENTRY:
        exit->address = run->fail_entry.hardware_entry_failure_reason;
        break;
    case KVM_EXIT_HYPERCALL:
        exit->address = run->hypercall.nr;
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        exit->code = run->internal.suberror;
        if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && run->internal.ndata >= 3 &&
            (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
            size_t size = run->emulation_failure.insn_size;
            if (size > sizeof run->emulation_failure.insn_bytes) size = sizeof run->emulation_failure.insn_bytes;
            exit->width = (uint8_t)size;
            memcpy(exit->bytes, run->emulation_failure.insn_bytes, size);
        }
        break;
    default:
        break;
    }
}

// Where the answer to an MMIO read goes, from the start of kvm_run.
static inline size_t swv_kvm_mmio_data_offset(void) { return offsetof(struct kvm_run, mmio.data); }

// While set, KVM_RUN finishes what is pending and returns EINTR without running the guest. Sequentially consistent, because a thread
// that sets it and then looks whether another is in KVM_RUN must not see an older answer.
static inline void swv_kvm_set_immediate_exit(void *area, uint8_t on) {
    struct kvm_run *run = area;
    __atomic_store_n(&run->immediate_exit, on, __ATOMIC_SEQ_CST);
}

// Makes the process ready for swv_kvm_kick, which a thread's first call of swv_kvm_enter_thread does as well: for processes that cannot
// install a signal handler then.
void swv_kvm_prepare_process(void);

// Lets the calling thread be interrupted in KVM_RUN by swv_kvm_kick, and returns its thread id. Cheap after a thread's first call.
int swv_kvm_enter_thread(void);

// Interrupts whatever system call the thread is in. The signal does nothing else.
void swv_kvm_kick(int thread);

#endif
