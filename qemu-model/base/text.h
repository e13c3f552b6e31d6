// SPDX-License-Identifier: GPL-2.0-or-later
// Reading the little languages of the properties "faults" and "link".
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
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

} // namespace erdma
