// SPDX-License-Identifier: GPL-2.0-or-later
// What every part of an adapter may use.
#pragma once

#include <string>

#include "counters.h"
#include "effects.h"
#include "fault.h"
#include "host.h"
#include "observer.h"

namespace erdma {

struct Common {
    Common(const erdma_config& settings, Host& owner, Entrance& entrance)
        : config(settings), machine(owner), effects(owner, entrance, counters), host(effects), budget(entrance.budget) {
    }
    Common(const Common&) = delete;
    Common& operator=(const Common&) = delete;

    const erdma_config config;
    Counters counters;
    Host& machine; // itself: for memory and clock, on paths that are taken often
    Effects effects;
    Host& host; // by way of `effects`
    Budget& budget;
    FaultPlan faults;
    bool running = false;         // INIT done, not reset since
    Observer* observer = nullptr; // of Adapter::observe()

    uint32_t maxQps() const { return 1024u * config.qblock; } // QPNs are below this, never 0 (4.2)
    uint32_t maxCqs() const { return 2048u * config.qblock; }

    // For the log: all are counted, some are shown.
    void guestError(const std::string& text);
    void badDoorbell(const char* what);

private:
    uint64_t errorWindowStart_ = 0;
    uint32_t errorsInWindow_ = 0;
};

} // namespace erdma
