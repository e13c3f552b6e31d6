/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chance that a seed decides, for programs that do what they like. */
#ifndef ERDMA_TESTS_CHANCE_H
#define ERDMA_TESTS_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

static _Thread_local uint64_t chance; /* not 0 */

static uint64_t any(void) {
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return chance;
}
/* 0 to limit - 1. */
static uint32_t below(uint32_t limit) { return (uint32_t)(any() >> 20) % limit; }
static bool one_in(uint32_t limit) { return below(limit) == 0; }

#endif
