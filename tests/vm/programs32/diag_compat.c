// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * /dev/erdma from a 32-bit process: the same structures, the same numbers.  Stands alone (no C library), so that
 * nothing but the compiler's -m32 is needed.  Ends with 0, or with the number of the step that failed.
 */
#include "erdma_ioctl.h"

#define OPEN 5
#define IOCTL 54
#define EXIT 1

_Static_assert(sizeof(void *) == 4, "must be compiled with -m32");
_Static_assert(sizeof(struct erdma_diag_list) == 48 && sizeof(struct erdma_diag_dump) == 64, "requests differ");
_Static_assert(sizeof(struct erdma_info_device) == 256 && sizeof(struct erdma_info_qp) == 440 &&
                   sizeof(struct erdma_info_cq) == 104 && sizeof(struct erdma_info_eq) == 112 &&
                   sizeof(struct erdma_info_mr) == 96 && sizeof(struct erdma_info_pd) == 48 &&
                   sizeof(struct erdma_info_ctx) == 64 && sizeof(struct erdma_info_cep) == 136 &&
                   sizeof(struct erdma_info_counter) == 192 && sizeof(struct erdma_info_conf) == 160,
               "entries differ");

static long call(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}

static long run(void) {
    static struct erdma_info_device devices[2];
    static struct erdma_info_counter counters[128];
    struct erdma_diag_version version = {.size = sizeof(version)};
    struct erdma_diag_list list = {.size = sizeof(list), .kind = ERDMA_KIND_DEVICE, .count = 2};
    long node = call(OPEN, (long)"/dev/" ERDMA_DIAG_NODE, 0, 0);

    if (node < 0)
        return 1;
    if (call(IOCTL, node, ERDMA_DIAG_GET_VERSION, (long)&version) || version.interface != ERDMA_DIAG_VERSION)
        return 2;
    list.entries = (unsigned long)devices;
    list.entry_size = sizeof(devices[0]);
    if (call(IOCTL, node, ERDMA_DIAG_GET_LIST, (long)&list) || list.count != version.devices)
        return 3;
    if (devices[0].pci_vendor != 0x1ded || devices[0].max_mr_size != 1ull << 36)
        return 4;
    list = (struct erdma_diag_list){.size = sizeof(list),
                                    .kind = ERDMA_KIND_COUNTER,
                                    .device = devices[0].device,
                                    .entries = (unsigned long)counters,
                                    .entry_size = sizeof(counters[0]),
                                    .count = 128};
    if (call(IOCTL, node, ERDMA_DIAG_GET_LIST, (long)&list) || list.count < 40 || list.more)
        return 5;
    if (counters[39].number != 39 || !counters[39].name[0])
        return 6;
    return 0;
}

void _start(void);
void _start(void) {
    call(EXIT, run(), 0, 0);
    for (;;)
        ;
}
