/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef ERDMA_TESTS_LINUX_BITS_H
#define ERDMA_TESTS_LINUX_BITS_H

#define BIT(n) (1u << (n))
#define BIT_ULL(n) (1ull << (n))
#define GENMASK(high, low) ((~0u >> (31 - (high))) & (~0u << (low)))
#define GENMASK_ULL(high, low) ((~0ull >> (63 - (high))) & (~0ull << (low)))

#endif
