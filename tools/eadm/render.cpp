// SPDX-License-Identifier: GPL-2.0-or-later
#include "render.h"

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <locale>
#include <sstream>

#include <fmt/format.h>

namespace eadm {

const Json& at(const Json& row, std::string_view path) {
    static const Json nothing;
    const Json* here = &row;
    while (!path.empty()) {
        const size_t dot = path.find('.');
        const std::string key(path.substr(0, dot));
        if (!here->is_object() || !here->contains(key))
            return nothing;
        here = &(*here)[key];
        path = dot == std::string_view::npos ? std::string_view{} : path.substr(dot + 1);
    }
    return *here;
}

std::string plain(const Json& value) {
    switch (value.type()) {
    case Json::value_t::null:
        return "-";
    case Json::value_t::string:
        return value.get_ref<const std::string&>().empty() ? "-" : value.get<std::string>();
    case Json::value_t::boolean:
        return value.get<bool>() ? "yes" : "no";
    case Json::value_t::number_float:
        return fmt::format("{:.1f}", value.get<double>());
    case Json::value_t::array: {
        std::string text;
        for (const Json& part : value)
            text += (text.empty() ? "" : ",") + plain(part);
        return text.empty() ? "-" : text;
    }
    default:
        return value.dump();
    }
}

// std::from_chars() has numbers with fractions since gcc 11.
std::optional<double> decimal(const std::string& text) {
    std::istringstream in(text);
    in.imbue(std::locale::classic());
    double value = 0;
    if (!(in >> std::noskipws >> value) || in.peek() != std::istringstream::traits_type::eof())
        return std::nullopt;
    return value;
}

std::string scaled(double value) {
    if (value < 10000)
        return fmt::format("{:.0f}", value);
    size_t step = 0;
    constexpr std::string_view letters = "kMGTPE";
    value /= 1000;
    while (value >= 1000 && step + 1 < letters.size()) {
        value /= 1000;
        ++step;
    }
    return fmt::format("{:.{}f}{}", value, value < 10 ? 2 : value < 100 ? 1 : 0, letters[step]);
}

std::string duration(uint64_t milliseconds) {
    const uint64_t seconds = milliseconds / 1000;
    if (seconds < 60)
        return fmt::format("{}.{}s", seconds, milliseconds % 1000 / 100);
    if (seconds < 3600)
        return fmt::format("{}m{:02}s", seconds / 60, seconds % 60);
    if (seconds < 86400)
        return fmt::format("{}h{:02}m", seconds / 3600, seconds / 60 % 60);
    return fmt::format("{}d{:02}h", seconds / 86400, seconds / 3600 % 24);
}

std::string timeText(int64_t nanoseconds) {
    const auto seconds = static_cast<std::time_t>(nanoseconds / 1'000'000'000);
    std::tm local{};
    localtime_r(&seconds, &local);
    const long east = local.tm_gmtoff / 60;
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}{}{:02}:{:02}", local.tm_year + 1900, local.tm_mon + 1,
                       local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec, nanoseconds % 1'000'000'000 / 1000,
                       east < 0 ? '-' : '+', std::abs(east) / 60, std::abs(east) % 60);
}

std::string table(const std::vector<Column>& columns, const Json& rows) {
    std::vector<std::vector<std::string>> cells;
    std::vector<size_t> widths;
    std::vector<bool> right(columns.size(), true);
    cells.emplace_back();
    for (const Column& column : columns) {
        cells.front().push_back(column.title);
        widths.push_back(column.title.size());
    }
    for (const Json& row : rows) {
        std::vector<std::string> line;
        for (size_t i = 0; i < columns.size(); ++i) {
            const Json& value = at(row, columns[i].path);
            line.push_back(columns[i].scaled && value.is_number() ? scaled(value.get<double>()) : plain(value));
            widths[i] = std::max(widths[i], line.back().size());
            if (!value.is_number() && !value.is_null())
                right[i] = false;
        }
        cells.push_back(std::move(line));
    }
    std::string text;
    for (const auto& line : cells) {
        std::string out;
        for (size_t i = 0; i < line.size(); ++i)
            out += right[i] ? fmt::format("{:>{}}  ", line[i], widths[i]) : fmt::format("{:<{}}  ", line[i], widths[i]);
        out.erase(out.find_last_not_of(' ') + 1);
        text += out + '\n';
    }
    return text;
}

namespace {

void addFacts(const Json& object, size_t indent, std::string& text) {
    size_t width = 0;
    for (const auto& [name, value] : object.items())
        width = std::max(width, name.size());
    for (const auto& [name, value] : object.items()) {
        if (value.is_object()) {
            text += fmt::format("{:{}}{}:\n", "", indent, name);
            addFacts(value, indent + 2, text);
        } else {
            text += fmt::format("{:{}}{:<{}}  {}\n", "", indent, name, width, plain(value));
        }
    }
}

} // namespace

std::string facts(const Json& object) {
    std::string text;
    addFacts(object, 0, text);
    return text;
}

Colours::Colours(bool on) {
    if (!on)
        return;
    red = "\033[31m";
    yellow = "\033[33m";
    green = "\033[32m";
    bold = "\033[1m";
    reset = "\033[0m";
}

} // namespace eadm
