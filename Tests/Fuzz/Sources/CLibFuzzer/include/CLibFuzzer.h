#pragma once
#include <stddef.h>
#include <stdint.h>

// Runs libFuzzer with the arguments of a program. Swift's package manager gives an executable a `main` of its own, so ours calls this one.
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*one_input)(const uint8_t *data, size_t size));
