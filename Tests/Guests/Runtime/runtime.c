// The few functions that Embedded Swift's runtime expects from a C library. Integer instructions only: the payloads also run on hosts
// whose KVM emulates the guest kernel's instructions and knows no others.

#include "guest.h"
#include <stddef.h>

void *memset(void *target, int byte, size_t count) {
    unsigned char *t = target;
    while (count--) *t++ = (unsigned char)byte;
    return target;
}

void *memcpy(void *restrict target, const void *restrict source, size_t count) {
    unsigned char *t = target;
    const unsigned char *s = source;
    while (count--) *t++ = *s++;
    return target;
}

void *memmove(void *target, const void *source, size_t count) {
    unsigned char *t = target;
    const unsigned char *s = source;
    if (t <= s) return memcpy(target, source, count);
    while (count--) t[count] = s[count];
    return target;
}

int memcmp(const void *left, const void *right, size_t count) {
    const unsigned char *l = left, *r = right;
    for (; count--; l++, r++)
        if (*l != *r) return *l - *r;
    return 0;
}

// A payload lives for a moment: memory is handed out once and never taken back.
static unsigned char heap[64 * 1024] __attribute__((aligned(64)));
static size_t heap_used;

int posix_memalign(void **result, size_t alignment, size_t size) {
    size_t start = (heap_used + alignment - 1) & ~(alignment - 1);
    if (start > sizeof heap || size > sizeof heap - start) return 12;
    heap_used = start + size;
    *result = heap + start;
    return 0;
}

void free(void *memory) { (void)memory; }

int putchar(int character) {
    guest_out8(0x3f8, (uint8_t)character);
    return character;
}

// Seeds the standard library's hashing, which no payload uses; the reference remains.
void arc4random_buf(void *target, size_t count) { memset(target, 0, count); }

uintptr_t __stack_chk_guard = 0x5377766d6d000aff;
void __stack_chk_fail(void) {
    for (;;) guest_halt();
}
