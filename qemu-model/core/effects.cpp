// SPDX-License-Identifier: GPL-2.0-or-later
#include "effects.h"

#include <bit>

namespace erdma {

static_assert(ERDMA_MAX_VECTORS <= 32);

void Effects::raise(unsigned vector) {
    if (!entrance_.running()) {
        host_.raise(vector);
        return;
    }
    vectors_ |= uint32_t{1} << vector;
    note();
}

void Effects::schedule() {
    if (!entrance_.running()) {
        host_.schedule();
        return;
    }
    turn_ = true;
    note();
}

void Effects::wantTurn(bool wanted) {
    turn_ = wanted;
    if (wanted)
        note();
}

void Effects::sendFrame(erdma_side side, ConstBytes frame, const erdma_offload& offload) {
    if (!entrance_.running()) {
        host_.sendFrame(side, frame, offload);
        return;
    }
    if (admit(side, frame.size(), offload))
        frames_.octets.insert(frames_.octets.end(), frame.begin(), frame.end());
}

// True: so many octets are to be appended.
bool Effects::admit(erdma_side side, size_t bytes, const erdma_offload& offload) {
    if (bytes > kMostFrameBytes - std::min(kMostFrameBytes, frames_.octets.size())) {
        ++counters_[Counter::TxDrops];
        return false;
    }
    entrance_.budget.chargeOctets(bytes);
    frames_.list.push_back({side, offload, bytes});
    note();
    return true;
}

void Effects::afterRun(std::function<void()> action) {
    actions_.push_back(std::move(action));
    note();
}

// Frames first: an interrupt may tell of what they carry.
void Effects::publish() {
    for (const auto& action : std::exchange(actions_, {}))
        action();
    publishFrames();
    const uint32_t all = vectors_;
    for (uint32_t left = all; left != 0; left &= left - 1) {
        const uint32_t bit = left & (~left + 1);
        if ((vectors_ & bit) == 0) // a reset came between
            continue;
        vectors_ &= ~bit;
        host_.raise(static_cast<unsigned>(std::countr_zero(bit)));
    }
    if (std::exchange(turn_, false))
        host_.schedule();
}

void Effects::publishFrames() {
    if (frames_.list.empty())
        return;
    Frames now = std::exchange(frames_, std::move(spare_)); // what comes meanwhile stays apart
    frames_.clear();
    size_t at = 0;
    for (const Frame& frame : now.list) {
        host_.sendFrame(frame.side, ConstBytes(now.octets).subspan(at, frame.bytes), frame.offload);
        at += frame.bytes;
    }
    now.clear();
    if (now.octets.capacity() <= kKeptCapacity)
        spare_ = std::move(now);
}

} // namespace erdma
