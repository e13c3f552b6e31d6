// SPDX-License-Identifier: GPL-2.0-or-later
// Whose frames are the paired NIC's: those to the adapter's MAC, and to others that the guest gave it or its macvlans.
// On a shared network others' frames pass here too.
#pragma once

#include <algorithm>
#include <array>

#include "packet.h"

namespace erdma {

class OwnAddresses {
public:
    explicit OwnAddresses(const Mac& mac) : always_(mac) {}

    bool contains(const Mac& mac) const {
        const auto end = others_.begin() + static_cast<std::ptrdiff_t>(count_);
        return mac == always_ || std::find(others_.begin(), end, mac) != end;
    }
    // The guest sent from this one.  The oldest of too many is forgotten.
    void learn(const Mac& mac) {
        if (contains(mac) || (mac[0] & 1) != 0)
            return;
        others_[next_] = mac;
        next_ = (next_ + 1) % others_.size();
        count_ = std::max(count_, next_ == 0 ? others_.size() : next_);
    }

private:
    Mac always_;
    std::array<Mac, 16> others_{};
    size_t count_ = 0, next_ = 0;
};

} // namespace erdma
