// SPDX-License-Identifier: GPL-2.0-or-later
// Trouble on the link, made on purpose.  ../lab/link_text.h reads what a user asks for.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "counters.h"
#include "host.h"
#include "packet_rules.h"

namespace erdma {

// Stands between the adapter and the network backend: every frame to the wire, the guest's and the adapter's, and every
// frame from it goes through here while active().  A super-frame is one frame.
//
// The dice of each direction are their own and are thrown per frame in a fixed order, so the same seed and the same
// frames give the same fate.
//
// Order of the stages: cut, rules for chosen packets, loss, corruption, duplication, rate, delay with jitter, reordering.  Jitter alone keeps the
// order of frames; a reordered frame lets the next one to three of its direction pass, for 10 ms at most.
class Impairment {
public:
    struct Settings {
        uint32_t loss = 0, duplicate = 0, corrupt = 0, reorder = 0; // of a million
        uint64_t delayNs = 0, jitterNs = 0;
        uint64_t bitsPerSecond = 0; // 0: no limit
        bool cut = false;
        std::vector<PacketRule> rules; // PacketRules::kMaxRules at most
        bool operator==(const Settings&) const = default;
    };
    struct Plan { // settings by erdma_side
        std::array<Settings, 2> sides;
        uint64_t seed = 1;
    };
    using Sink = std::function<void(erdma_side side, ConstBytes frame, const erdma_offload& offload)>;

    explicit Impairment(Counters& counters) : counters_(counters) {}

    // Replaces the settings, seeds the dice and begins to count packets anew.  Frames under way keep their time.
    void set(const Plan& plan);
    const Plan& plan() const { return plan_; }

    // False: frames need not be shown to push().
    bool active() const { return configured_ || !idle(); }
    // Takes a copy of the frame, or drops it.
    void push(erdma_side side, ConstBytes frame, const erdma_offload& offload, uint64_t nowNs);
    // When deliverDue() has something to deliver, perhaps in the past; ERDMA_TIMER_OFF: nothing is under way.
    uint64_t deadline() const;
    // Delivers what is due.  The sink may call push().
    void deliverDue(uint64_t nowNs, const Sink& sink);

private:
    struct Held {
        std::vector<std::byte> frame;
        erdma_offload offload;
    };
    struct Path {
        Settings settings;
        std::mt19937_64 dice;
        uint64_t lineFreeNs = 0; // when the line has sent what it took so far
        uint64_t lastDueNs = 0;
        uint64_t order = 0;
        std::map<std::pair<uint64_t, uint64_t>, Held> queue; // time, order
        std::optional<Held> passed;                          // a reordered frame that waits for others
        uint64_t passedUntilNs = 0;
        uint32_t passedLeft = 0; // frames that may still overtake it
        size_t bytes = 0;        // of queue and passed
        size_t frames = 0;

        bool rolls(uint32_t ofMillion);
        void insert(uint64_t dueNs, Held&& held);
    };

    void enqueue(Path& path, Held&& held, uint64_t nowNs, uint64_t aloneNs);
    void deliverOne(size_t side, const Sink& sink);
    bool idle() const { return paths_[0].frames == 0 && paths_[1].frames == 0; }

    Counters& counters_;
    std::array<Path, 2> paths_;
    PacketRules rules_;
    bool configured_ = false, hasRules_ = false;
    Plan plan_;
};

} // namespace erdma
