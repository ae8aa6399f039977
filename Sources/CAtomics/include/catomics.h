#ifndef SWVMM_CATOMICS_H
#define SWVMM_CATOMICS_H

// Atomics, fences and volatile access on memory that somebody else may change at any time (a guest, a device process). Swift's own
// atomics own their storage and cannot overlay foreign memory. No system header is included, so that freestanding (Embedded Swift)
// code can use this too.

typedef unsigned char swv_u8;
typedef unsigned short swv_u16;
typedef unsigned int swv_u32;
typedef unsigned long long swv_u64;

#define SWV_INLINE static inline __attribute__((always_inline))

// Relaxed atomic accesses: never torn, never merged or repeated by the compiler, no ordering.
#define SWV_ACCESS(BITS) \
    SWV_INLINE swv_u##BITS swv_load_u##BITS(const void *p) { \
        return __atomic_load_n((const swv_u##BITS *)p, __ATOMIC_RELAXED); \
    } \
    SWV_INLINE void swv_store_u##BITS(void *p, swv_u##BITS v) { \
        __atomic_store_n((swv_u##BITS *)p, v, __ATOMIC_RELAXED); \
    } \
    SWV_INLINE swv_u##BITS swv_load_acquire_u##BITS(const void *p) { \
        return __atomic_load_n((const swv_u##BITS *)p, __ATOMIC_ACQUIRE); \
    } \
    SWV_INLINE void swv_store_release_u##BITS(void *p, swv_u##BITS v) { \
        __atomic_store_n((swv_u##BITS *)p, v, __ATOMIC_RELEASE); \
    }

SWV_ACCESS(8)
SWV_ACCESS(16)
SWV_ACCESS(32)
SWV_ACCESS(64)

#undef SWV_ACCESS

// One read of a word that need not be aligned (an indirect descriptor table): volatile, so that the compiler cannot read it twice.
typedef swv_u64 __attribute__((aligned(1))) swv_unaligned_u64;
SWV_INLINE swv_u64 swv_load_unaligned_u64(const void *p) { return *(const volatile swv_unaligned_u64 *)p; }

// Atomic read-modify-write on foreign 64-bit words (dirty bitmaps): whoever takes a bit sees what was written before it was set.
SWV_INLINE swv_u64 swv_fetch_or_u64(void *p, swv_u64 v) { return __atomic_fetch_or((swv_u64 *)p, v, __ATOMIC_RELEASE); }
SWV_INLINE swv_u64 swv_exchange_u64(void *p, swv_u64 v) { return __atomic_exchange_n((swv_u64 *)p, v, __ATOMIC_ACQUIRE); }

// Full barrier: the only fence that orders an earlier store before a later load (notification suppression needs it).
SWV_INLINE void swv_fence_full(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
SWV_INLINE void swv_fence_acquire(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
SWV_INLINE void swv_fence_release(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }

#endif
