// SPDX-License-Identifier: GPL-2.0-or-later
// Trouble on the link, made on purpose.  Text, several parts separated by ';', empty for a clean link:
//   SIDE:ITEM,ITEM...   SIDE is to-wire, to-guest or both; ITEM one of
//       loss=P% duplicate=P% corrupt=P% reorder=P%   0% to 100%, up to four decimals
//       delay=TIME jitter=TIME   number with ns, us, ms or s, up to 60s; jitter not more than delay
//       rate=RATE                number with kbit, mbit or gbit a second
//       cut                      nothing passes
//   seed=NUMBER         of the dice (1)
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "counters.h"
#include "host.h"

namespace erdma {

// Stands between the adapter and the network backend: every frame to the wire, the guest's and the adapter's, and every
// frame from it goes through here while active().  A super-frame is one frame.
//
// The dice of each direction are their own and are thrown per frame in a fixed order, so the same seed and the same
// frames give the same fate.
//
// Order of the stages: cut, loss, corruption, duplication, rate, delay with jitter, reordering.  Jitter alone keeps the
// order of frames; a reordered frame lets the next one to three of its direction pass, for 10 ms at most.
class Impairment {
public:
    using Sink = std::function<void(erdma_side side, ConstBytes frame, const erdma_offload& offload)>;

    explicit Impairment(Counters& counters) : counters_(counters) {}

    // Replaces the settings and seeds the dice anew; nothing, or the sentence for the user, and then nothing changed.
    // Frames under way keep their time.
    std::optional<std::string> set(std::string_view text);
    // The settings in the same grammar, in one spelling; empty: clean.
    const std::string& text() const { return text_; }

    // False: frames need not be shown to push().
    bool active() const { return configured_ || !idle(); }
    // Takes a copy of the frame, or drops it.
    void push(erdma_side side, ConstBytes frame, const erdma_offload& offload, uint64_t nowNs);
    // When onTimer() has something to deliver, perhaps in the past; ERDMA_TIMER_OFF: nothing is under way.
    uint64_t deadline() const;
    // Delivers what is due.  The sink may call push().
    void onTimer(uint64_t nowNs, const Sink& sink);

private:
    struct Settings {
        uint32_t loss = 0, duplicate = 0, corrupt = 0, reorder = 0; // of a million
        uint64_t delayNs = 0, jitterNs = 0;
        uint64_t bitsPerSecond = 0; // 0: no limit
        bool cut = false;
        bool operator==(const Settings&) const = default;
    };
    struct Plan {
        std::array<Settings, 2> sides;
        uint64_t seed = 1;
    };
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

    static std::optional<std::string> parse(std::string_view text, Plan& plan);
    static std::optional<std::string> parsePart(std::string_view part, Plan& plan);
    static std::optional<std::string> parseItem(std::string_view part, std::string_view item, Settings& settings);
    static std::string describe(const Settings& settings);
    static std::string describe(const Plan& plan);

    void enqueue(Path& path, Held&& held, uint64_t nowNs);
    void deliverOne(size_t side, const Sink& sink);
    bool idle() const { return paths_[0].frames == 0 && paths_[1].frames == 0; }

    Counters& counters_;
    std::array<Path, 2> paths_;
    bool configured_ = false;
    std::string text_;
};

} // namespace erdma
