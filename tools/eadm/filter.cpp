// SPDX-License-Identifier: GPL-2.0-or-later
#include "filter.h"

#include <algorithm>
#include <cctype>

#include <fnmatch.h>

#include <fmt/format.h>

namespace eadm {

namespace {

std::string upper(std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return text;
}

// "10.0.0.1:80" is an end of that address, of that port, and of both.
bool isEnd(const Json& end, const std::string& wanted) {
    if (!end.is_string())
        return false;
    const auto& text = end.get_ref<const std::string&>();
    const size_t colon = text.rfind(':');
    std::string address = text.substr(0, colon);
    if (address.starts_with('['))
        address = address.substr(1, address.size() - 2);
    return wanted == text || wanted == address || wanted == text.substr(std::min(colon, text.size()));
}

// Every path of a row: "qp", "owner.pid".
void pathsOf(const Json& shape, const std::string& before, std::vector<std::string>& paths) {
    for (const auto& [name, value] : shape.items())
        if (value.is_object())
            pathsOf(value, before + name + ".", paths);
        else
            paths.push_back(before + name);
}

std::string sortPath(const Json& shape, const std::string& word) {
    std::vector<std::string> paths;
    pathsOf(shape, "", paths);
    if (std::ranges::find(paths, word) != paths.end())
        return word;
    // "pid" is short for "owner.pid".
    for (const std::string& path : paths)
        if (path == "owner." + word || (word == "comm" && path == "owner.name") || (word == "peer" && path == "remote"))
            return path;
    const std::string close = nearest(word, paths);
    throw Error(Exit::Usage, fmt::format("there is no field '{}' to sort by{}", word,
                                         close.empty() ? "" : fmt::format(", did you mean '{}'?", close)));
}

void demand(const Json& shape, const char* field, std::string_view option) {
    if (!shape.contains(field))
        throw Error(Exit::Usage, fmt::format("{} does not go with this kind: it has no '{}'", option, field));
}

} // namespace

uint64_t choose(Json& rows, const Json& shape, const ListOptions& list) {
    if (list.pid || !list.comm.empty())
        demand(shape, "owner", list.pid ? "--pid" : "--comm");
    if (!list.local.empty())
        demand(shape, "local", "--local");
    if (!list.peer.empty())
        demand(shape, "remote", "--peer");
    if (!list.state.empty())
        demand(shape, "state", "--state");
    std::vector<Json> kept;
    for (Json& row : rows) {
        if ((list.pid && at(row, "owner.pid") != *list.pid) ||
            (!list.comm.empty() && fnmatch(list.comm.c_str(), plain(at(row, "owner.name")).c_str(), 0) != 0) ||
            (!list.local.empty() && !isEnd(at(row, "local"), list.local)) ||
            (!list.peer.empty() && !isEnd(at(row, "remote"), list.peer)) ||
            (!list.state.empty() && upper(plain(at(row, "state"))) != upper(list.state)))
            continue;
        kept.push_back(std::move(row));
    }
    if (!list.sort.empty()) {
        const bool down = list.sort.starts_with('-');
        const std::string path = sortPath(shape, list.sort.substr(down ? 1 : 0));
        // What is not known comes last.
        std::ranges::stable_sort(kept, [&](const Json& a, const Json& b) {
            const Json &left = at(a, path), &right = at(b, path);
            if (left.is_null() || right.is_null())
                return !left.is_null() && right.is_null();
            return down ? right < left : left < right;
        });
    }
    const uint64_t all = kept.size();
    if (list.limit && *list.limit < all)
        kept.resize(*list.limit);
    rows = kept;
    return all - kept.size();
}

} // namespace eadm
