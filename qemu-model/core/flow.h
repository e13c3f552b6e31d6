// SPDX-License-Identifier: GPL-2.0-or-later
// Why the sends of a queue pair do not go on, and for how long that was so: what QUERY_FLOW tells (docs/capabilities.md).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace erdma {

// Values as QUERY_FLOW has them.
enum class Limit : uint8_t {
    Idle,        // what was posted is complete
    Answers,     // all has been sent: what the peer says to it is under way
    Turn,        // the adapter has not come to it
    Window,      // as much is under way as the path is given: congestion window, or packets
    PeerWindow,  // the peer takes no more octets
    Loss,        // something was lost, or may be: it is repeated before anything new
    PeerBuffers, // the peer has no receive buffer
    Requests,    // as many reads and atomics are outstanding as may be, or a fence waits for them
};
inline constexpr size_t kLimits = 8;

// How long each of them held.  Times in nanoseconds of one clock that does not go back.
class LimitClock {
public:
    void begin(uint64_t nowNs) {
        spent_ = {};
        current_ = Limit::Idle;
        since_ = nowNs;
    }
    Limit current() const { return current_; }
    // From `from` on, if that is not before the present one began: some causes show afterwards only.
    void become(Limit next, uint64_t from, uint64_t nowNs) {
        const uint64_t at = std::clamp(from, since_, std::max(since_, nowNs));
        spent_[static_cast<size_t>(current_)] += at - since_;
        current_ = next;
        since_ = at;
    }
    // Until now, since begin().
    uint64_t spent(Limit which, uint64_t nowNs) const {
        return spent_[static_cast<size_t>(which)] + (which == current_ ? nowNs - since_ : 0);
    }

private:
    std::array<uint64_t, kLimits> spent_{};
    Limit current_ = Limit::Idle;
    uint64_t since_ = 0;
};

// The state of the path, as its transport keeps it; zero where it has no such thing.  Octets and nanoseconds.
struct FlowFacts {
    uint64_t window = 0;     // of the congestion control, or what may be under way at most
    uint64_t threshold = 0;  // of slow start; ~0: none yet
    uint64_t flight = 0;     // not acknowledged
    uint64_t peerWindow = 0; // that the peer said it takes
    uint64_t rttNs = 0, rttVariationNs = 0;
    uint64_t timeoutNs = 0;  // of the retransmission timer, as it would be set now
    uint64_t repeats = 0;    // segments or packets sent again
    uint64_t recoveries = 0; // losses noticed without the timer
    uint64_t timeouts = 0;   // of the timer
    uint64_t notReady = 0;   // the peer said that it has no receive buffer
    uint64_t outOfOrder = 0; // segments of the peer that did not come in their turn
};

} // namespace erdma
