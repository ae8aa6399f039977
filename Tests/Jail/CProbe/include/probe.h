#ifndef SWVMM_PROBE_H
#define SWVMM_PROBE_H

// The name of an attempt, in order; null behind the last one.
const char *probe_name(int index);

// Makes an attempt: something that nobody in a jail may do.
void probe_attempt(int index);

#endif
