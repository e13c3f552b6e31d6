// SPDX-License-Identifier: GPL-2.0-or-later
// The rules about where the time of a connection goes, of adapters that tell (docs/capabilities.md).
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include <fmt/format.h>

#include "examination.h"
#include "objects.h"

namespace eadm {

namespace {

struct Cause {
    uint32_t limit;
    const char* text;
    const char* advice;
};

// What somebody can do something about.
constexpr std::array kCauses{
    Cause{ERDMA_LIMIT_LOSS, "for what was lost to be sent again",
          "Look for loss on the path and for a peer that is overloaded."},
    Cause{ERDMA_LIMIT_PEER_BUFFERS, "for receive buffers of its peer",
          "The receiving program must post more receives, or answer sooner."},
    Cause{
        ERDMA_LIMIT_PEER_WINDOW, "for its peer to take more",
        "The peer is slower than this end: it has no receive buffers for messages, or no processor time. 'eadm doctor' "
        "there says more."},
    Cause{ERDMA_LIMIT_REQUESTS, "for reads or atomics before it",
          "Connect with a larger initiator_depth and responder_resources, on both ends; and fence only what must be."},
};

uint64_t grown(uint64_t first, uint64_t second) { return second - std::min(first, second); }

double percentOf(double ns, double seconds) { return std::round(std::min(100.0, ns / seconds / 1e7) * 10) / 10; }

} // namespace

// Only of connections that get something done: what stands still has rules of its own.
void Examination::heldUp(const WatchedQp& qp, const std::string& name) {
    if ((qp.first.known & qp.second.known & ERDMA_KNOWN_FLOW) == 0 || qp.seconds <= 0)
        return;
    const auto &before = qp.first.flow, &now = qp.second.flow;
    Json percent;
    std::array<double, ERDMA_LIMIT_COUNT> share{};
    for (uint32_t limit = 0; limit < ERDMA_LIMIT_COUNT; ++limit) {
        share[limit] = percentOf(static_cast<double>(grown(before.spent_ns[limit], now.spent_ns[limit])), qp.seconds);
        percent[limitName(limit)] = share[limit];
    }
    const double starved = percentOf(static_cast<double>(grown(before.starved_ns, now.starved_ns)), qp.seconds);
    Json figures = {{"qp", qp.second.number},
                    {"seconds", qp.seconds},
                    {"percent", percent},
                    {"percent_starved", starved},
                    {"rtt_us", static_cast<double>(now.rtt_ns) / 1000},
                    {"window", now.window},
                    {"peer_window", now.peer_window},
                    {"repeats_now", grown(before.repeats, now.repeats)}};

    std::vector<Cause> ranked(kCauses.begin(), kCauses.end());
    std::ranges::stable_sort(ranked, [&](const Cause& a, const Cause& b) { return share[a.limit] > share[b.limit]; });
    std::erase_if(ranked, [&](const Cause& cause) { return share[cause.limit] < 1; });
    const double all = std::accumulate(ranked.begin(), ranked.end(), 0.0,
                                       [&](double sum, const Cause& cause) { return sum + share[cause.limit]; });
    if (all >= limits_.held_up_percent) {
        std::string causes;
        for (const Cause& cause : ranked)
            causes += fmt::format("{}{:.0f} % {}", causes.empty() ? "" : ", ", share[cause.limit], cause.text);
        addQp(Severity::Warning, "held-up", fmt::format("{} waited {:.0f} % of the time: {}.", name, all, causes),
              ranked.front().advice, figures);
    }
    if (starved >= limits_.held_up_percent)
        addQp(Severity::Warning, "receives-late",
              fmt::format("Messages for {} waited {:.0f} % of the time for a receive buffer.", name, starved),
              "The program must post more receives, or look at its completions sooner.", figures);
}

} // namespace eadm
