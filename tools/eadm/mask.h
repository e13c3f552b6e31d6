// SPDX-License-Identifier: GPL-2.0-or-later
// Addresses of a snapshot that leaves the house.
#pragma once

#include <map>
#include <span>
#include <string>

#include "doctor.h"

namespace eadm {

// Puts another address in the place of each, the same one each time, so that what belongs together still does: IPv4
// addresses become those of 198.18.0.0/15, MAC addresses those of 02:00:00, IPv6 addresses those of fd00::.  Loopback and
// unspecified addresses stay.
class Mask {
public:
    explicit Mask(bool on) : on_(on) {}

    void apply(erdma_info_device& device);
    void apply(erdma_info_qp& qp);
    void apply(erdma_info_cep& cep) { apply(cep.link); }
    template <typename Other> void apply(Other&) {} // has no addresses
    void apply(Snapshot& snapshot);
    // Wherever they are in it.
    void apply(std::string& text);

private:
    void apply(erdma_info_link& link);
    void applyMac(std::span<uint8_t, 6> octets);
    std::string other(const std::string& address); // of any kind, as text
    bool on_;
    std::map<std::string, std::string> names_;
    size_t counts_[3] = {}; // IPv4, MAC, IPv6
};

} // namespace eadm
