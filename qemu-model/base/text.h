// SPDX-License-Identifier: GPL-2.0-or-later
// Reading the little languages of the properties "faults", "link" and "check-delay".
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace erdma {

inline std::string_view trimmed(std::string_view text) {
    const auto first = text.find_first_not_of(" \t\n");
    if (first == std::string_view::npos)
        return {};
    return text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

// A decimal number and nothing else.
inline std::optional<uint64_t> decimal(std::string_view text, uint64_t min, uint64_t max) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < min || value > max)
        return std::nullopt;
    return value;
}

// Takes what stands before the first `mark` off `rest`, without spaces around it; without a mark, everything.
inline std::string_view takeItem(std::string_view& rest, char mark) {
    const auto end = rest.find(mark);
    const std::string_view item = trimmed(rest.substr(0, end));
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    return item;
}

struct Unit {
    std::string_view name;
    uint64_t factor;
};
inline constexpr Unit kTimeUnits[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};

// A whole number and one of these units, in the smallest of them.
template <size_t N>
std::optional<uint64_t> withUnit(std::string_view text, const Unit (&units)[N], uint64_t min, uint64_t max) {
    const auto letters = text.find_first_not_of("0123456789");
    if (letters == std::string_view::npos)
        return std::nullopt;
    for (const Unit& unit : units)
        if (text.substr(letters) == unit.name) {
            const auto count = decimal(text.substr(0, letters), 0, max / unit.factor);
            if (!count || *count * unit.factor < min)
                return std::nullopt;
            return *count * unit.factor;
        }
    return std::nullopt;
}

// With the largest unit of which it is a whole number.
template <size_t N> std::string inUnits(uint64_t value, const Unit (&units)[N]) {
    const Unit* best = &units[0];
    for (const Unit& unit : units)
        if (value % unit.factor == 0)
            best = &unit;
    return std::to_string(value / best->factor) + std::string(best->name);
}

} // namespace erdma
