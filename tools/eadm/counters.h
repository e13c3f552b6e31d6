// SPDX-License-Identifier: GPL-2.0-or-later
// The counters by name.  The list comes from the driver's header, so a rule that asks for one that is not there (any
// more) does not compile; what the loaded driver does not have is told apart from zero.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <string_view>

#include "counter_list.h"

namespace eadm {

enum class Counter : uint8_t {
#define EADM_COUNTER_ID(name) name,
    EADM_COUNTERS(EADM_COUNTER_ID)
#undef EADM_COUNTER_ID
};

constexpr std::array kCounterNames = {
#define EADM_COUNTER_NAME(name) std::string_view(#name),
    EADM_COUNTERS(EADM_COUNTER_NAME)
#undef EADM_COUNTER_NAME
};

constexpr std::string_view nameOf(Counter counter) { return kCounterNames.at(static_cast<size_t>(counter)); }

// Values of the counters at one moment.
class Counters {
public:
    // A name that the header does not have (of a newer driver) is left out.
    void set(std::string_view name, uint64_t value);
    void set(Counter counter, uint64_t value) {
        values_.at(static_cast<size_t>(counter)) = value;
        known_.set(static_cast<size_t>(counter));
    }
    // What the driver did not tell reads as zero.
    uint64_t operator[](Counter counter) const { return values_.at(static_cast<size_t>(counter)); }
    bool knows(Counter counter) const { return known_.test(static_cast<size_t>(counter)); }

private:
    std::array<uint64_t, kCounterNames.size()> values_{};
    std::bitset<kCounterNames.size()> known_;
};

} // namespace eadm
