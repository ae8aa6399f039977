#ifndef SWVMM_CLINUX_RANDOM_H
#define SWVMM_CLINUX_RANDOM_H

#include <sys/random.h>
#include <sys/types.h>

static inline ssize_t swv_getrandom(void *bytes, size_t count) { return getrandom(bytes, count, 0); }

#endif
