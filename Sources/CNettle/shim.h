#ifndef SWVMM_CNETTLE_H
#define SWVMM_CNETTLE_H

#include <stddef.h>
#include <nettle/sha2.h>
#include <nettle/version.h>

// nettle's functions are macros for prefixed names, and since nettle 4 a digest has one size: said once, for Swift.

static inline void swv_sha256_init(struct sha256_ctx *context) { sha256_init(context); }

static inline void swv_sha256_update(struct sha256_ctx *context, size_t count, const void *bytes) {
    sha256_update(context, count, (const uint8_t *)bytes);
}

// Fills SHA256_DIGEST_SIZE bytes.
static inline void swv_sha256_finish(struct sha256_ctx *context, void *digest) {
#if NETTLE_VERSION_MAJOR >= 4
    sha256_digest(context, (uint8_t *)digest);
#else
    sha256_digest(context, SHA256_DIGEST_SIZE, (uint8_t *)digest);
#endif
}

#endif
