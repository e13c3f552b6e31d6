// SPDX-License-Identifier: GPL-2.0-or-later
#include "counters.h"

#include <algorithm>

namespace eadm {

void Counters::set(std::string_view name, uint64_t value) {
    const auto at = std::ranges::find(kCounterNames, name);
    if (at != kCounterNames.end())
        set(static_cast<Counter>(at - kCounterNames.begin()), value);
}

} // namespace eadm
