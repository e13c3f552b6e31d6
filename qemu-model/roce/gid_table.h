// SPDX-License-Identifier: GPL-2.0-or-later
// The adapter's own addresses (SET_GID; roce.md 1.9, 5.7).
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>

#include "address_vector.h"
#include "hw.h"

namespace erdma {

struct GidEntry {
    Gid gid;
    std::optional<uint16_t> vlan; // ID
};

class GidTable {
public:
    static constexpr uint32_t kSizeLog = 8;

    // SET_GID (adapter.md 13.3), a whole request.
    Status set(ConstBytes request);
    void clear() {
        entries_ = {};
        end_ = 0;
    }

    // Null: there is none of this index (any more).
    const GidEntry* at(uint32_t index) const {
        return index < entries_.size() && entries_[index] ? &*entries_[index] : nullptr;
    }
    // Whether it is one of the adapter's, in this VLAN or without.
    bool contains(const Gid& gid, std::optional<uint16_t> vlan) const;
    bool hasVlan(uint16_t vlan) const;
    // JSON array of objects.
    std::string describe() const;

private:
    std::span<const std::optional<GidEntry>> used() const { return std::span(entries_).first(end_); }

    std::array<std::optional<GidEntry>, 1u << kSizeLog> entries_;
    size_t end_ = 0; // behind the last that was ever added: each frame asks
};

std::string textOf(const Gid& gid); // 32 hexadecimal digits in groups of four, or an IPv4 address

} // namespace erdma
