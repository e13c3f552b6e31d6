// SPDX-License-Identifier: GPL-2.0-or-later
// How long check mode holds things back, as a text: TIME[;seed=N], TIME with ns, us, ms or s; 0: not at all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace erdma::check {

struct Settings {
    uint64_t mostDelayNs = 300'000; // each delay is between 0 and this
    uint64_t seed = 1;
};

// Nothing, or the sentence for the user, and then nothing changed.  An empty text: the defaults.
std::optional<std::string> parseDelay(std::string_view text, Settings& settings);
std::string describeDelay(const Settings& settings);

// The same for the same numbers; between 0 and settings.mostDelayNs.
uint64_t drawDelay(const Settings& settings, uint64_t stream, uint64_t ordinal);

} // namespace erdma::check
