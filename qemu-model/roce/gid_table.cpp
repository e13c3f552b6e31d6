// SPDX-License-Identifier: GPL-2.0-or-later
#include "gid_table.h"

#include <algorithm>

namespace erdma {

Status GidTable::set(ConstBytes request) {
    const uint32_t word = loadLe32(request, 8);
    const uint32_t index = word & 0xFFFF;
    if (index >= entries_.size())
        return Status::Invalid;
    if ((word >> 31 & 1) != 0) { // nothing else of the request is initialised
        entries_[index].reset();
        return Status::Ok;
    }
    GidEntry entry{gidAt(request, 12), std::nullopt};
    const bool ipv6 = (word >> 16 & 1) != 0;
    if (entry.gid == Gid{} || ipv6 == isMapped(entry.gid))
        return Status::Invalid;
    if ((word >> 17 & 1) != 0)
        entry.vlan = static_cast<uint16_t>(word >> 18 & 0xFFF);
    entries_[index] = entry;
    end_ = std::max<size_t>(end_, index + 1);
    return Status::Ok;
}

bool GidTable::contains(const Gid& gid, std::optional<uint16_t> vlan) const {
    return std::ranges::any_of(used(),
                               [&](const auto& entry) { return entry && entry->gid == gid && entry->vlan == vlan; });
}

bool GidTable::hasVlan(uint16_t vlan) const {
    return std::ranges::any_of(used(), [vlan](const auto& entry) { return entry && entry->vlan == vlan; });
}

std::string textOf(const Gid& gid) {
    constexpr const char* digits = "0123456789abcdef";
    std::string out;
    for (size_t i = isMapped(gid) ? 12 : 0; i < gid.size(); ++i) {
        if (isMapped(gid)) {
            out += (i == 12 ? "" : ".") + std::to_string(gid[i]);
            continue;
        }
        if (i != 0 && i % 2 == 0)
            out += ':';
        out += digits[gid[i] >> 4];
        out += digits[gid[i] & 0xF];
    }
    return out;
}

std::string GidTable::describe() const {
    std::string out;
    for (size_t i = 0; i < entries_.size(); ++i) {
        if (!entries_[i])
            continue;
        out += std::string(out.empty() ? "" : ",") + "{\"index\":" + std::to_string(i) + ",\"gid\":\"" +
               textOf(entries_[i]->gid) + "\"";
        if (entries_[i]->vlan)
            out += ",\"vlan\":" + std::to_string(*entries_[i]->vlan);
        out += "}";
    }
    return "[" + out + "]";
}

} // namespace erdma
