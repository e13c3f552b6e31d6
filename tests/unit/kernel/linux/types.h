/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * These headers stand in for the kernel's, so that the driver's description of the hardware compiles for the tests.
 * This one adds what the header of the same name for programs lacks.
 */
#ifndef ERDMA_TESTS_LINUX_TYPES_H
#define ERDMA_TESTS_LINUX_TYPES_H

#include_next <linux/types.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the tests run on little-endian hosts only"
#endif

typedef __u8 u8;

#define __packed __attribute__((packed))

#endif
