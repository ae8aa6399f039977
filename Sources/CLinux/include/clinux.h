#ifndef SWVMM_CLINUX_H
#define SWVMM_CLINUX_H
#include "blockio.h"
#include "fdpass.h"
#include "host.h"
#include "jail.h"
#include "kvm.h"
#include "pagemap.h"
#include "random.h"
#include "sockets.h"
#include "spawn.h"
#include "terminal.h"
#include "tun.h"
#include "vduse.h"
#include "vhost.h"
#endif
