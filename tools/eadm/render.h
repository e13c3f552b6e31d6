// SPDX-License-Identifier: GPL-2.0-or-later
// One model, two shapes: what a command has to say is JSON; a table or a list of facts is made from that JSON.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace eadm {

using Json = nlohmann::ordered_json;

// A column of a table: where its value is in a row ("owner.pid" goes down), what stands above, how numbers are shown.
struct Column {
    std::string path;
    std::string title;
    bool scaled = false; // large numbers are shortened
};

// The value at a path; null when there is none.
const Json& at(const Json& row, std::string_view path);

// How a person reads a value: no quotes, "-" for nothing, lists with commas.
std::string plain(const Json& value);
// The number that the whole text is, with or without a fraction; nothing if it is none.
std::optional<double> decimal(const std::string& text);
// 1234567 -> "1.23M"; below 10000 exact.
std::string scaled(double value);
// Milliseconds as "1.5s", "3m12s", "2h05m", "4d03h".
std::string duration(uint64_t milliseconds);

// Nanoseconds since 1970 as "2026-11-27T12:00:00.123456+01:00" (RFC 3339), in the time zone of the user.
std::string timeText(int64_t nanoseconds);

// Rows as an aligned table, numbers to the right.
std::string table(const std::vector<Column>& columns, const Json& rows);
// One object as lines "name  value"; objects inside are indented.
std::string facts(const Json& object);

// Terminal colours, empty when the output is not a terminal.
struct Colours {
    explicit Colours(bool on);
    std::string_view red, yellow, green, bold, reset;
};

} // namespace eadm
