// SPDX-License-Identifier: GPL-2.0-or-later
#include "thresholds.h"

#include <fstream>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "driver.h"
#include "render.h"

namespace eadm {

namespace {

struct Entry {
    const char* name;
    double Thresholds::*value;
};

constexpr Entry kEntries[] = {
#define EADM_THRESHOLD_ENTRY(name, value) {#name, &Thresholds::name},
    EADM_THRESHOLDS(EADM_THRESHOLD_ENTRY)
#undef EADM_THRESHOLD_ENTRY
};

} // namespace

std::string thresholdsFile() { return EADM_CONF; }

std::vector<std::string> thresholdNames() {
    std::vector<std::string> names;
    for (const Entry& entry : kEntries)
        names.emplace_back(entry.name);
    return names;
}

Thresholds readThresholds(const std::string& path) {
    Thresholds thresholds;
    const std::string name = path.empty() ? thresholdsFile() : path;
    std::ifstream file(name);
    if (!file) {
        if (path.empty())
            return thresholds;
        throw Error(Exit::Usage, fmt::format("{} cannot be read", name));
    }
    std::vector<CLI::ConfigItem> items;
    try {
        items = CLI::ConfigINI().from_config(file);
    } catch (const CLI::Error& error) {
        throw Error(Exit::Usage, fmt::format("{}: {}", name, error.what()));
    }
    for (const CLI::ConfigItem& item : items) {
        const auto* entry = std::find_if(std::begin(kEntries), std::end(kEntries),
                                         [&](const Entry& one) { return item.name == one.name; });
        if (entry == std::end(kEntries) || !item.parents.empty())
            throw Error(Exit::Usage, fmt::format("{}: there is no threshold '{}'", name, item.fullname()));
        const std::string text = item.inputs.size() == 1 ? item.inputs.front() : "";
        const auto value = decimal(text);
        if (!value || *value < 0)
            throw Error(Exit::Usage, fmt::format("{}: {} must be a number from 0 on", name, item.name));
        thresholds.*entry->value = *value;
    }
    return thresholds;
}

} // namespace eadm
