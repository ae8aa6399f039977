#include <errno.h>
#include <seccomp.h>
#include <stdint.h>

// Adds a rule: `count` comparisons of arguments (index, mask, value), all of which must hold. A negative error number when it cannot be.
static inline int swv_seccomp_rule(scmp_filter_ctx filter, uint32_t action, int number, const uint32_t *indices, const uint64_t *masks,
                                   const uint64_t *values, unsigned count) {
    struct scmp_arg_cmp comparisons[6];
    if (count > 6) return -EINVAL;
    for (unsigned i = 0; i < count; i++) {
        comparisons[i].arg = indices[i];
        comparisons[i].op = SCMP_CMP_MASKED_EQ;
        comparisons[i].datum_a = masks[i];
        comparisons[i].datum_b = values[i];
    }
    return seccomp_rule_add_exact_array(filter, action, number, count, comparisons);
}

static inline uint32_t swv_seccomp_allow(void) { return SCMP_ACT_ALLOW; }
static inline uint32_t swv_seccomp_trap(void) { return SCMP_ACT_TRAP; }
static inline uint32_t swv_seccomp_error(uint16_t error) { return SCMP_ACT_ERRNO(error); }
