// SPDX-License-Identifier: GPL-2.0-or-later
// An impaired link (net/impairment.h) on a clock that the test moves.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "byteorder.h"
#include "link_text.h"

namespace erdma {

inline constexpr uint64_t kMs = 1000000;

struct Arrival {
    uint64_t at = 0;
    erdma_side side = ERDMA_TO_WIRE;
    std::vector<std::byte> frame;
    erdma_offload offload{};
    uint32_t number() const { return loadLe32(frame, 0); }
};

struct Link {
    Counters counters;
    Impairment link{counters};
    uint64_t now = 1000 * kMs;
    std::vector<Arrival> arrivals;

    void set(const std::string& text) { ASSERT_EQ(setLink(link, text), std::nullopt) << text; }
    std::string refused(const std::string& text) { return setLink(link, text).value_or("(accepted)"); }

    void deliver() {
        link.deliverDue(now, [this](erdma_side side, ConstBytes frame, const erdma_offload& offload) {
            arrivals.push_back({now, side, {frame.begin(), frame.end()}, offload});
        });
    }
    void push(erdma_side side, uint32_t number, size_t size = 64, const erdma_offload& offload = {}) {
        std::vector<std::byte> frame(size);
        storeLe32(frame, 0, number);
        push(side, frame, offload);
    }
    void push(erdma_side side, ConstBytes frame, const erdma_offload& offload = {}) {
        link.push(side, frame, offload, now);
        deliver();
    }
    // Moves the clock from one deadline to the next, as the device timer does.
    void runUntil(uint64_t end) {
        for (uint64_t next = link.deadline(); next <= end; next = link.deadline()) {
            now = std::max(now, next);
            deliver();
        }
        now = end;
    }
    void drain() { runUntil(now + 200000 * kMs); }
    std::vector<uint32_t> numbers() const {
        std::vector<uint32_t> all;
        for (const Arrival& arrival : arrivals)
            all.push_back(arrival.number());
        return all;
    }
};

} // namespace erdma
