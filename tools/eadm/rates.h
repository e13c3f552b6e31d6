// SPDX-License-Identifier: GPL-2.0-or-later
// Rates between two looks at the counters and queue pairs.
#pragma once

#include <string>
#include <vector>

#include "counters.h"
#include "driver.h"
#include "render.h"

namespace eadm {

struct Sample {
    double at = 0; // seconds of a steady clock
    Counters counters;
    std::vector<erdma_info_qp> qps; // ascending by number
    uint64_t hidden = 0;            // queue pairs of other users
};

// Seconds of a steady clock.
double steadySeconds();
// How an adapter is now.  Throws Error.
Sample takeSample(const Driver& driver, uint32_t device);
// Per second; a counter that went back (the driver was loaded anew) counts from zero.
Json deviceRates(const Sample& before, const Sample& now);
/*
 * The busiest queue pairs, at most `most`, busiest first: blocks of 32 bytes posted to the send queue and entries to the
 * receive queue per second.  The indices have 16 bits: more than 65535 in between are not noticed.
 */
Json queuePairRates(const Sample& before, const Sample& now, size_t most);

} // namespace eadm
