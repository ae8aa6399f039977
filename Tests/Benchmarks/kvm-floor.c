// The floor under the start-up benchmark: the KVM calls that any VMM has to make, and nothing else.
//
//     kvm-floor PAYLOAD [LINE]
//
// Split irqchip, one vCPU, 128 MiB of memfd, an ELF payload entered at its 64-bit entry point. Copies what the guest writes to COM1 to
// standard output, byte by byte, and ends at the first byte (or, with LINE, when the guest writes to port 0x501 or halts). The harness
// measures from exec to the first byte; the number on standard error counts from main() and is for orientation only.

#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    RAM_SIZE = 128 << 20,
    ZERO_PAGE = 0x7000,
    PML4 = 0x9000,
    PDPT = 0xa000,
    PD = 0xb000,
    GDT = 0x500,
    COMMAND_LINE = 0x20000,
    IOAPIC_PINS = 24,
};

static int check(int result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static double microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static uint64_t load_elf(uint8_t *ram, const char *path) {
    int file = check(open(path, O_RDONLY | O_CLOEXEC), path);
    Elf64_Ehdr header;
    if (read(file, &header, sizeof header) != sizeof header || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
        fprintf(stderr, "%s: not an ELF file\n", path);
        exit(1);
    }
    for (int i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        if (pread(file, &segment, sizeof segment, header.e_phoff + i * sizeof segment) != sizeof segment) exit(1);
        if (segment.p_type != PT_LOAD) continue;
        if (segment.p_paddr > RAM_SIZE || segment.p_filesz > RAM_SIZE - segment.p_paddr) exit(1);
        if (pread(file, ram + segment.p_paddr, segment.p_filesz, segment.p_offset) != (ssize_t)segment.p_filesz) exit(1);
    }
    close(file);
    return header.e_entry;
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, int code) {
    return (struct kvm_segment){
        .limit = 0xffffffff, .selector = selector, .type = type, .present = 1, .s = 1, .g = 1, .l = code, .db = !code};
}

int main(int argc, char **argv) {
    double start = microseconds();
    if (argc < 2) {
        fprintf(stderr, "usage: kvm-floor PAYLOAD [LINE]\n");
        return 2;
    }
    int kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    check(ioctl(kvm, KVM_GET_API_VERSION, 0), "KVM_GET_API_VERSION");
    int run_size = check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");

    int file = check(memfd_create("ram", MFD_CLOEXEC), "memfd_create");
    check(ftruncate(file, RAM_SIZE), "ftruncate");
    uint8_t *ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
    if (ram == MAP_FAILED) return 1;
    struct kvm_userspace_memory_region region = {.memory_size = RAM_SIZE, .userspace_addr = (uintptr_t)ram};
    check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    uint64_t identity_map = 0xfeffc000;
    check(ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map), "KVM_SET_IDENTITY_MAP_ADDR");
    check(ioctl(vm, KVM_SET_TSS_ADDR, 0xfeffd000), "KVM_SET_TSS_ADDR");
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {IOAPIC_PINS}};
    check(ioctl(vm, KVM_ENABLE_CAP, &split), "KVM_CAP_SPLIT_IRQCHIP");

    int vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    struct kvm_run *run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (run == MAP_FAILED) return 1;

    struct {
        struct kvm_cpuid2 header;
        struct kvm_cpuid_entry2 entries[256];
    } cpuid = {.header.nent = 256};
    check(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
    check(ioctl(vcpu, KVM_SET_CPUID2, &cpuid), "KVM_SET_CPUID2");

    uint64_t entry = load_elf(ram, argv[1]);
    ((uint64_t *)(ram + PML4))[0] = PDPT | 3;
    ((uint64_t *)(ram + PDPT))[0] = PD | 3;
    for (uint64_t i = 0; i < 512; i++) ((uint64_t *)(ram + PD))[i] = i << 21 | 0x83;
    uint64_t gdt[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
    memcpy(ram + GDT, gdt, sizeof gdt);
    if (argc > 2) {
        strncpy((char *)ram + COMMAND_LINE, argv[2], 2048);
        uint32_t where = COMMAND_LINE;
        memcpy(ram + ZERO_PAGE + 0x228, &where, sizeof where);
    }

    struct kvm_sregs sregs;
    check(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    sregs.cs = segment(0x10, 11, 1);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(0x18, 3, 0);
    sregs.gdt = (struct kvm_dtable){.base = GDT, .limit = sizeof gdt - 1};
    sregs.cr0 = 0x80000031;
    sregs.cr3 = PML4;
    sregs.cr4 = 0x20;
    sregs.efer = 0x500;
    check(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
    struct kvm_regs regs = {.rip = entry, .rsi = ZERO_PAGE, .rsp = 0x8ff0, .rbp = 0x8ff0, .rflags = 2};
    check(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");

    for (;;) {
        check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
        switch (run->exit_reason) {
        case KVM_EXIT_IO: {
            const char *data = (const char *)run + run->io.data_offset;
            if (run->io.direction != KVM_EXIT_IO_OUT) break;
            if (run->io.port == 0x501) return (unsigned char)*data;
            if (run->io.port != 0x3f8) break;
            if (write(STDOUT_FILENO, data, run->io.count) < 0) return 1;
            if (argc == 2) {
                fprintf(stderr, "%.0f us\n", microseconds() - start);
                return 0;
            }
            break;
        }
        case KVM_EXIT_INTERNAL_ERROR:
            fprintf(stderr, "internal error %u, %u values:", run->internal.suberror, run->internal.ndata);
            for (uint32_t i = 0; i < run->internal.ndata && i < 16; i++) fprintf(stderr, " %016llx", run->internal.data[i]);
            fprintf(stderr, "\n");
            return 1;
        default:
            fprintf(stderr, "unexpected exit %u\n", run->exit_reason);
            return 1;
        }
    }
}
