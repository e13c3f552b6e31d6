// SPDX-License-Identifier: GPL-2.0-or-later
#include "real.h"

#include <dlfcn.h>
#include <stdatomic.h>

/* Behind this library, or where a program loaded it for itself alone. */
static void *real_symbol(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    void *library = found ? NULL : dlopen("libibverbs.so.1", RTLD_LAZY | RTLD_NOLOAD);
    if (library) {
        found = dlsym(library, name);
        dlclose(library);
    }
    return found;
}

#define REAL(name)                                                                                                     \
    __typeof__(&name) real_##name(void) {                                                                              \
        static _Atomic(void *) known;                                                                                  \
        void *found = atomic_load_explicit(&known, memory_order_acquire);                                              \
        if (!found) {                                                                                                  \
            found = real_symbol(#name);                                                                                \
            atomic_store_explicit(&known, found, memory_order_release);                                                \
        }                                                                                                              \
        return (__typeof__(&name))found;                                                                               \
    }

REAL(ibv_open_device)
REAL(ibv_close_device)
REAL(ibv_create_cq)
REAL(ibv_destroy_cq)
REAL(ibv_create_qp)
REAL(ibv_destroy_qp)
REAL(ibv_get_cq_event)
REAL(ibv_get_async_event)
REAL(ibv_ack_async_event)

void real_look_up(void) {
    real_ibv_close_device();
    real_ibv_create_cq();
    real_ibv_destroy_cq();
    real_ibv_create_qp();
    real_ibv_destroy_qp();
    real_ibv_get_cq_event();
    real_ibv_get_async_event();
    real_ibv_ack_async_event();
}
