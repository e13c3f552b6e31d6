/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the witness has to say, as lines for the lab (tools/lab/erdmalab/witness.py reads them). */
#ifndef ERDMA_WITNESS_WORDS_H
#define ERDMA_WITNESS_WORDS_H

#include <stdbool.h>
#include <stdint.h>

struct words {
    const char *id;  /* of the finding */
    const char *pci; /* address of the device, or its name */
    uint32_t qpn;    /* 0: none is known */
    int cqe;         /* entries of the completion queue; 0: it is not about one */
    uint64_t count;
    uint64_t first, last; /* CLOCK_BOOTTIME, ns */
    int what;             /* status of a completion, type of an event; -1: unknown */
    uint64_t wr_id;
};

/* False: nobody listens, and there is no need to look. */
bool words_wanted(void);

/* From any thread, and from a signal's handler; keeps errno. */
void words_say(const struct words *words);

uint64_t words_now(void);

#endif
