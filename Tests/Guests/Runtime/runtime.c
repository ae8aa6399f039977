// The few functions that Embedded Swift's runtime expects from a C library. Integer instructions only: the payloads also run on hosts
// whose KVM emulates the guest kernel's instructions and knows no others.

#include "guest.h"
#include <stddef.h>

typedef unsigned long __attribute__((aligned(1), may_alias)) unaligned_word;

void *memset(void *target, int byte, size_t count) {
    unsigned char *t = target;
    // By words as far as that goes: an emulated instruction takes as long for one byte as for eight.
    const unsigned long word = 0x0101010101010101ul * (unsigned char)byte;
    for (; count >= sizeof word; count -= sizeof word, t += sizeof word) *(unaligned_word *)t = word;
    while (count--) *t++ = (unsigned char)byte;
    return target;
}

void *memcpy(void *restrict target, const void *restrict source, size_t count) {
    unsigned char *t = target;
    const unsigned char *s = source;
    for (; count >= sizeof(unaligned_word); count -= sizeof(unaligned_word)) {
        *(unaligned_word *)t = *(const unaligned_word *)s;
        t += sizeof(unaligned_word);
        s += sizeof(unaligned_word);
    }
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
static unsigned char heap[256 * 1024] __attribute__((aligned(64)));
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
