// SPDX-License-Identifier: GPL-2.0-or-later
// The rules about where the time of a connection goes: of adapters that tell (docs/capabilities.md), and what can be seen
// without.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "examination.h"
#include "objects.h"

namespace eadm {

namespace {

struct Cause {
    uint32_t limit;
    std::string text;
    std::string advice;
};

uint64_t grown(uint64_t first, uint64_t second) { return second - std::min(first, second); }

double percentOf(double ns, double seconds) { return std::round(std::min(100.0, ns / seconds / 1e7) * 10) / 10; }

// How many reads and atomics of a connection an adapter has under way at most (wire.md 2.7, roce.md).
struct Depth {
    uint32_t most;
    bool agreed; // between the programs: it can be more with other programs
    bool exact;  // of two adapters, the one that connected may have been offered more than its program wanted
};

constexpr uint32_t kDepthBetweenAdapters = 128, kDepthOfRevision1 = 16;

// Empty: nobody knows, as with a driver that does not tell the revision.
std::optional<Depth> depthOf(const erdma_info_qp& qp, bool roce) {
    if ((qp.known & ERDMA_KNOWN_DEPTH) == 0)
        return {};
    if (!roce && qp.mpa_revision == 129)
        return Depth{kDepthBetweenAdapters, false, true};
    if (!roce && qp.mpa_revision == 1)
        return Depth{kDepthOfRevision1, false, true};
    if (qp.ord == 0 || (!roce && qp.mpa_revision != 2))
        return {};
    return Depth{qp.ord, true, roce || (qp.flags & ERDMA_QP_FLAG_PASSIVE) != 0};
}

// Reads and atomics are answered, and share a limit.
bool isAnswered(const std::string& operation) {
    return operation.starts_with("READ") || operation.starts_with("ATOMIC");
}

// Nothing but reads and atomics waits, and more of them than can ever be under way: as fast as can be.
bool deepest(const WatchedQp& qp, const Depth& depth) {
    constexpr uint32_t blocks = 2; // of each
    return !depth.agreed && qp.waiting && !qp.waiting->empty() && std::ranges::all_of(*qp.waiting, isAnswered) &&
           static_cast<uint16_t>(qp.second.hw.sq_pi - qp.second.hw.sq_ci) > blocks * depth.most;
}

std::string adviceOnReads(const std::optional<Depth>& depth) {
    if (!depth)
        return "Read more at once, and fence only what must be.";
    if (depth->agreed)
        return "Connect with a larger initiator_depth and responder_resources, on both ends; and fence only what must "
               "be.";
    return fmt::format(
        "Up to {} are under way on such a connection, whatever the programs ask for: read more at once, and "
        "fence only what must be.",
        depth->most);
}

} // namespace

// Only of connections that get something done: what stands still has rules of its own.
void Examination::slowness(const WatchedQp& qp, const std::string& name) {
    if (qp.seconds > 0 && (qp.first.known & qp.second.known & ERDMA_KNOWN_FLOW) != 0)
        heldUp(qp, name);
    else
        readDepth(qp, name, {}, {{"qp", qp.second.number}});
}

// Returns whether it said that more reads wait than the programs agreed on.  `percent`: of the time, if the adapter tells.
bool Examination::readDepth(const WatchedQp& qp, const std::string& name, std::optional<double> percent, Json figures) {
    const auto depth = depthOf(qp.second, speaksRoce());
    if (!depth || !depth->agreed || !qp.waiting || (!percent && !depth->exact) ||
        (percent && *percent < limits_.held_up_percent))
        return false;
    const auto waiting = std::ranges::count_if(*qp.waiting, isAnswered);
    if (waiting < 2 || static_cast<uint32_t>(waiting) <= depth->most)
        return false;
    figures["reads"] = waiting;
    figures["ord"] = depth->most;
    addQp(Severity::Warning, "read-depth",
          percent ? fmt::format(
                        "{} waited {:.0f} % of the time for reads before it: {} wait, and the programs agreed on {} "
                        "at a time.",
                        name, *percent, waiting, depth->most)
                  : fmt::format("{} has {} reads waiting and may have {} under way.", name, waiting, depth->most),
          "Connect with a larger initiator_depth and responder_resources, on both ends.", std::move(figures));
    return true;
}

// The window of the peer stands open, and as much as it takes gets there with every round trip: the peer is not slow.
bool Examination::windowIsFull(const WatchedQp& qp) {
    constexpr uint64_t open = 16384; // less may be what a slow peer has just taken
    const auto &before = qp.first.flow, &now = qp.second.flow;
    const uint64_t window = std::min(before.peer_window, now.peer_window);
    const uint64_t rtt = std::min(before.rtt_ns, now.rtt_ns);
    if (window < open || rtt == 0)
        return false;
    const double possible = static_cast<double>(window) * qp.seconds * 1e9 / static_cast<double>(rtt);
    return static_cast<double>(packetsSent(qp)) * now.frame_bytes >= possible / 2;
}

void Examination::heldUp(const WatchedQp& qp, const std::string& name) {
    const auto &before = qp.first.flow, &now = qp.second.flow;
    Json percent;
    std::array<double, ERDMA_LIMIT_COUNT> share{};
    for (uint32_t limit = 0; limit < ERDMA_LIMIT_COUNT; ++limit) {
        share[limit] = percentOf(static_cast<double>(grown(before.spent_ns[limit], now.spent_ns[limit])), qp.seconds);
        percent[limitName(limit)] = share[limit];
    }
    const double starved = percentOf(static_cast<double>(grown(before.starved_ns, now.starved_ns)), qp.seconds);
    const Json figures = {{"qp", qp.second.number},
                          {"seconds", qp.seconds},
                          {"percent", percent},
                          {"percent_starved", starved},
                          {"rtt_us", static_cast<double>(now.rtt_ns) / 1000},
                          {"window", now.window},
                          {"peer_window", now.peer_window},
                          {"repeats_now", grown(before.repeats, now.repeats)}};

    // What somebody can do something about.
    const auto depth = depthOf(qp.second, speaksRoce());
    std::vector<Cause> ranked = {{ERDMA_LIMIT_LOSS, "for what was lost to be sent again",
                                  "Look for loss on the path and for a peer that is overloaded."},
                                 {ERDMA_LIMIT_PEER_BUFFERS, "for receive buffers of its peer",
                                  "The receiving program must post more receives, or answer sooner."},
                                 {ERDMA_LIMIT_REQUESTS, "for reads or atomics before it", adviceOnReads(depth)}};
    double ofPath = share[ERDMA_LIMIT_WINDOW];
    if (windowIsFull(qp))
        ofPath += share[ERDMA_LIMIT_PEER_WINDOW];
    else
        ranked.push_back({ERDMA_LIMIT_PEER_WINDOW, "for its peer to take more",
                          "The peer is slower than this end: it has no receive buffers for messages, or no processor "
                          "time. 'eadm doctor' there says more."});
    if ((depth && deepest(qp, *depth)) || readDepth(qp, name, share[ERDMA_LIMIT_REQUESTS], figures))
        std::erase_if(ranked, [](const Cause& cause) { return cause.limit == ERDMA_LIMIT_REQUESTS; });
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
    if (const double ms = static_cast<double>(now.rtt_ns) / 1e6;
        ofPath >= limits_.held_up_percent && ms >= limits_.long_path_ms)
        addQp(
            Severity::Note, "long-path",
            fmt::format(
                "{} had as much under way as may be for {:.0f} % of the time, {}B just now, and a round trip takes "
                "{:.1f} ms.",
                name, ofPath, scaled(static_cast<double>(now.flight)), ms),
            "Over a long path more than one connection carries more; 'eadm doctor' at the peer says whether its kernel "
            "keeps the window small (small-window). If the path is not long, its queues are full.",
            figures);
    if (starved >= limits_.held_up_percent)
        addQp(Severity::Warning, "receives-late",
              fmt::format("Messages for {} waited {:.0f} % of the time for a receive buffer.", name, starved),
              "The program must post more receives, or look at its completions sooner.", figures);
}

} // namespace eadm
