// SPDX-License-Identifier: GPL-2.0-or-later
// What a queue pair finds around itself, and the commands with it.
#pragma once

#include <memory>

#include "common.h"
#include "completion_queues.h"
#include "events.h"
#include "fabric.h"
#include "memory_region.h"
#include "page_table.h"
#include "paired_nic.h"
#include "personality.h"
#include "scheduler.h"

namespace erdma {

struct Adapter : Common {
    Adapter(const erdma_config& settings, Host& owner, Fabric& shared)
        : Common(settings, owner, shared.entrance), fabric(shared),
          regions(machine, 2048u * settings.qblock, settings.max_mr_size_log, settings.multilevel_mtt) {}

    // From now on; null: nobody.
    void observe(Observer* watcher) {
        observer = watcher;
        regions.observe(watcher);
    }

    Fabric& fabric;
    MrTable regions;
    RingBudget rings;
    Scheduler scheduler{*this};
    Events events{*this};
    CompletionQueues cqs{*this, events};
    std::unique_ptr<PairedNic> nic;                         // none: loopback connections only
    std::unique_ptr<Personality> personality;               // always there (Device::setPersonality)
    static constexpr uint32_t kDefaultRetransmitLimit = 24; // SET_RETRANS_NUM
    uint32_t retransmitLimit = kDefaultRetransmitLimit;
};

} // namespace erdma
