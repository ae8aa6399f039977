// What a payload in Embedded Swift cannot say itself: port I/O and instructions.
#ifndef SWVMM_GUEST_H
#define SWVMM_GUEST_H

#include <stdint.h>

static inline void guest_out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline uint8_t guest_in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline void guest_out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static inline uint32_t guest_in32(uint16_t port) {
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
// Device registers in memory: one access each, as wide as it says.
#define GUEST_REGISTER(BITS) \
    static inline uint##BITS##_t guest_load##BITS(uintptr_t address) { return *(const volatile uint##BITS##_t *)address; } \
    static inline void guest_store##BITS(uintptr_t address, uint##BITS##_t value) { *(volatile uint##BITS##_t *)address = value; }
GUEST_REGISTER(8)
GUEST_REGISTER(16)
GUEST_REGISTER(32)
static inline uint64_t guest_tsc(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}
static inline void guest_halt(void) { __asm__ volatile("cli; hlt"); }

#endif
