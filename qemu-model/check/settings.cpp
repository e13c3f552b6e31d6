// SPDX-License-Identifier: GPL-2.0-or-later
#include "settings.h"

#include <array>

#include "text.h"

namespace erdma::check {

namespace {

constexpr uint64_t kMostDelayNs = 1'000'000'000;

struct Unit {
    std::string_view name;
    uint64_t ns;
};
// Longer names first: "ms" ends with "s".
constexpr std::array<Unit, 4> kUnits = {{{"ns", 1}, {"us", 1000}, {"ms", 1'000'000}, {"s", 1'000'000'000}}};

std::optional<uint64_t> parseTime(std::string_view text) {
    if (text == "0")
        return 0;
    for (const Unit& unit : kUnits) {
        if (!text.ends_with(unit.name))
            continue;
        const auto value = decimal(text.substr(0, text.size() - unit.name.size()), 0, kMostDelayNs / unit.ns);
        if (value)
            return *value * unit.ns;
        return std::nullopt;
    }
    return std::nullopt;
}

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
        const auto most = parseTime(item);
        if (!most)
            return "\"" + std::string(item) + "\" is neither a time up to 1s (300us, 2ms, 0) nor seed=N";
        next.mostDelayNs = *most;
    }
    settings = next;
    return std::nullopt;
}

std::string describeDelay(const Settings& settings) {
    const uint64_t ns = settings.mostDelayNs;
    const std::string time = ns == 0             ? "0"
                             : ns % 1000000 == 0 ? std::to_string(ns / 1000000) + "ms"
                             : ns % 1000 == 0    ? std::to_string(ns / 1000) + "us"
                                                 : std::to_string(ns) + "ns";
    return time + ";seed=" + std::to_string(settings.seed);
}

uint64_t drawDelay(const Settings& settings, uint64_t stream, uint64_t ordinal) {
    const uint64_t drawn = scramble(settings.seed * 0x9E3779B97F4A7C15u ^ scramble(stream ^ scramble(ordinal + 1)));
    return settings.mostDelayNs == 0 ? 0 : drawn % (settings.mostDelayNs + 1);
}

} // namespace erdma::check
