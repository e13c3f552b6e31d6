// SPDX-License-Identifier: GPL-2.0-or-later
// What the driver said, kept in a file of eadm snapshot.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "erdma_ioctl.h"
#include "render.h"

namespace eadm {

std::string hexOf(std::span<const uint8_t> bytes);
// Throws std::invalid_argument.
std::vector<uint8_t> bytesOf(const std::string& hex);

// A structure as the file has it.  One of another version is cut, or filled with zeros, as the driver would do.
template <typename Struct> std::string hexOfStruct(const Struct& value) {
    return hexOf({reinterpret_cast<const uint8_t*>(&value), sizeof(value)});
}
template <typename Struct> Struct structOf(const Json& hex) {
    const auto bytes = bytesOf(hex.get<std::string>());
    Struct value{};
    std::copy_n(bytes.begin(), std::min(bytes.size(), sizeof(value)), reinterpret_cast<uint8_t*>(&value));
    return value;
}

constexpr unsigned kLooks = 2; // at the counters and objects, some time apart

// The lists of one look.
struct RecordedList {
    std::vector<std::vector<uint8_t>> entries; // ascending by number
    uint64_t hidden = 0;
};

class Recording {
public:
    // Throws Error when it is no such file.
    explicit Recording(const std::string& path);

    // Was the driver loaded?  Otherwise there are no lists.
    bool driver() const { return !json_.at("version").is_null(); }
    const erdma_diag_version& version() const { return version_; }
    double at(unsigned look) const { return at_.at(look); } // seconds of a steady clock
    // The whole file.
    const Json& json() const { return json_; }
    // Entries from `cursor` on; the same rules as the driver's.  Returns how many were copied.
    uint32_t page(unsigned look, erdma_kind kind, uint32_t device, uint64_t& cursor, void* entries, uint32_t size,
                  uint32_t room, bool& more, uint64_t& hidden) const;

private:
    void readLists();
    Json json_;
    erdma_diag_version version_{};
    std::vector<double> at_;
    std::map<std::tuple<unsigned, uint32_t, uint32_t>, RecordedList> lists_; // look, kind, device
};

class Driver;
class Mask;
// The driver's lists as a look of the file.
Json recordLook(const Driver& driver, Mask& mask);

} // namespace eadm
