#ifndef SWVMM_CLINUX_H
#define SWVMM_CLINUX_H
#include "host.h"
#endif
