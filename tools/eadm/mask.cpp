// SPDX-License-Identifier: GPL-2.0-or-later
#include "mask.h"

#include <algorithm>
#include <cstring>
#include <regex>

#include <arpa/inet.h>

#include <fmt/format.h>

#include "objects.h"

namespace eadm {

void Mask::apply(erdma_info_link& link) {
    for (auto* address : {&link.own, &link.peer}) {
        std::string text = addressText(*address);
        if (text == "::") // not connected
            continue;
        apply(text);
        in_addr v4{};
        if (inet_pton(AF_INET, text.c_str(), &v4) == 1)
            std::memcpy(*address + 12, &v4, sizeof(v4));
        else
            inet_pton(AF_INET6, text.c_str(), *address);
    }
}

void Mask::applyMac(std::span<uint8_t, 6> octets) {
    const std::string mac = other(macText(octets));
    for (size_t i = 0; i < octets.size(); ++i)
        octets[i] = static_cast<uint8_t>(std::stoul(mac.substr(3 * i, 2), nullptr, 16));
}

void Mask::apply(erdma_info_device& device) {
    if (!on_)
        return;
    applyMac(device.mac);
    device.guid = 0; // is made of the MAC address
}

void Mask::apply(erdma_info_qp& qp) {
    apply(qp.link);
    if (on_ && (qp.known & ERDMA_KNOWN_ROCE) != 0)
        applyMac(qp.roce.mac);
}

void Mask::apply(Snapshot& snapshot) {
    for (Adapter& adapter : snapshot.adapters) {
        apply(adapter.device);
        apply(adapter.interface.mac);
        for (Upper& upper : adapter.interface.uppers)
            for (std::string& address : upper.addresses)
                apply(address);
        for (std::string& address : adapter.withoutGid)
            apply(address);
        for (TcpFlow& flow : adapter.tcp) {
            apply(flow.local);
            apply(flow.remote);
        }
        for (WatchedQp& qp : adapter.qps) {
            apply(qp.first);
            apply(qp.second);
            apply(qp.translation);
        }
        for (auto& qp : adapter.failed)
            apply(qp);
        for (auto& cep : adapter.ceps)
            apply(cep);
    }
}

std::string Mask::other(const std::string& address) {
    if (address == "127.0.0.1" || address == "0.0.0.0" || address == "::" || address == "::1" ||
        address == "00:00:00:00:00:00")
        return address;
    const auto [at, fresh] = names_.try_emplace(address, "");
    if (fresh) {
        const bool v4 = address.find('.') != std::string::npos;
        const bool mac = !v4 && address.size() == 17 && std::ranges::count(address, ':') == 5;
        const size_t number = ++counts_[v4 ? 0 : mac ? 1 : 2];
        at->second =
            v4    ? fmt::format("198.{}.{}.{}", 18 + (number >> 16 & 1), number >> 8 & 0xFF, number & 0xFF)
            : mac ? fmt::format("02:00:00:{:02x}:{:02x}:{:02x}", number >> 16 & 0xFF, number >> 8 & 0xFF, number & 0xFF)
                  : fmt::format("fd00::{:x}:{:x}", number >> 16 & 0xFFFF, number & 0xFFFF);
    }
    return at->second;
}

void Mask::apply(std::string& text) {
    if (!on_)
        return;
    static const std::regex addresses(
        R"((\d{1,3}\.){3}\d{1,3}|\b([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b)"
        R"(|([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|([0-9a-fA-F]{1,4}:){1,6}(:[0-9a-fA-F]{1,4}){1,6})");
    std::string out;
    auto rest = text.cbegin();
    for (std::sregex_iterator at(text.begin(), text.end(), addresses), end; at != end; ++at) {
        out.append(rest, (*at)[0].first);
        out += other(at->str());
        rest = (*at)[0].second;
    }
    out.append(rest, text.cend());
    text = out;
}

} // namespace eadm
