// SPDX-License-Identifier: GPL-2.0-or-later
#include "settings.h"

#include "text.h"

namespace erdma::check {

namespace {

constexpr uint64_t kMostDelayNs = 1'000'000'000;

uint64_t scramble(uint64_t value) {
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9u;
    value = (value ^ value >> 27) * 0x94D049BB133111EBu;
    return value ^ value >> 31;
}

} // namespace

std::optional<std::string> parseDelay(std::string_view text, Settings& settings) {
    constexpr std::string_view kSeed = "seed=";
    Settings next;
    while (!text.empty()) {
        const std::string_view item = takeItem(text, ';');
        if (item.empty())
            continue;
        if (item.starts_with(kSeed)) {
            const auto seed = decimal(item.substr(kSeed.size()), 0, UINT64_MAX);
            if (!seed)
                return "\"" + std::string(item) + "\": the seed is a decimal number";
            next.seed = *seed;
            continue;
        }
        const auto most = item == "0" ? std::optional<uint64_t>{0} : withUnit(item, kTimeUnits, 0, kMostDelayNs);
        if (!most)
            return "\"" + std::string(item) + "\" is neither a time up to 1s (300us, 2ms, 0) nor seed=N";
        next.mostDelayNs = *most;
    }
    settings = next;
    return std::nullopt;
}

std::string describeDelay(const Settings& settings) {
    const std::string time = settings.mostDelayNs == 0 ? "0" : inUnits(settings.mostDelayNs, kTimeUnits);
    return time + ";seed=" + std::to_string(settings.seed);
}

uint64_t drawDelay(const Settings& settings, uint64_t stream, uint64_t ordinal) {
    const uint64_t drawn = scramble(settings.seed * 0x9E3779B97F4A7C15u ^ scramble(stream ^ scramble(ordinal + 1)));
    return settings.mostDelayNs == 0 ? 0 : drawn % (settings.mostDelayNs + 1);
}

} // namespace erdma::check
