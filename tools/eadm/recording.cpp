// SPDX-License-Identifier: GPL-2.0-or-later
#include "recording.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include <fmt/format.h>

#include "driver.h"
#include "mask.h"
#include "rates.h"

namespace eadm {

namespace {

// The kinds by the names that the file has for them.
constexpr const char* kKindNames[ERDMA_KIND_COUNT] = {"device", "qp",  "cq",      "eq",   "mr",     "pd",
                                                      "ctx",    "cep", "counter", "conf", "finding"};

// What entries are sorted by; all begin with it.
uint64_t numberOf(uint32_t kind, const std::vector<uint8_t>& entry) {
    uint64_t number = 0;
    std::memcpy(&number, entry.data(), std::min<size_t>(entry.size(), kind == ERDMA_KIND_CEP ? 8 : 4));
    return number;
}

template <typename Entry>
void recordKind(Json& lists, const Driver& driver, Mask& mask, erdma_kind kind, uint32_t device) {
    auto page = driver.list<Entry>(kind, device, 0, ERDMA_LIST_HARDWARE);
    Json entries = Json::array();
    for (Entry& entry : page.entries) {
        mask.apply(entry);
        entries.push_back(hexOfStruct(entry));
    }
    lists.push_back({{"kind", kKindNames[kind]}, {"device", device}, {"hidden", page.hidden}, {"entries", entries}});
}

} // namespace

std::string hexOf(std::span<const uint8_t> bytes) {
    std::string text;
    for (const uint8_t byte : bytes)
        text += fmt::format("{:02x}", byte);
    return text;
}

std::vector<uint8_t> bytesOf(const std::string& hex) {
    const auto digit = [](char c) -> int {
        if (c >= '0' && c <= '9')
            return c - '0';
        if (c >= 'a' && c <= 'f')
            return c - 'a' + 10;
        throw std::invalid_argument("a digit is not hexadecimal");
    };
    if (hex.size() % 2 != 0)
        throw std::invalid_argument("half an octet");
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i < hex.size(); i += 2)
        bytes.push_back(static_cast<uint8_t>(digit(hex[i]) << 4 | digit(hex[i + 1])));
    return bytes;
}

Recording::Recording(const std::string& path) {
    std::ifstream file(path);
    if (!file)
        throw Error(Exit::Usage, fmt::format("{} cannot be read", path));
    try {
        json_ = Json::parse(file);
        if (json_.at("format") != "eadm-snapshot" || json_.at("snapshot_version") != 1)
            throw std::invalid_argument("it has another format");
        if (json_.at("version").is_null())
            return; // there was no driver
        version_ = structOf<erdma_diag_version>(json_.at("version"));
        readLists();
    } catch (const std::exception& error) {
        throw Error(Exit::Usage, fmt::format("{} is no snapshot that this eadm reads: {}", path, error.what()));
    }
}

void Recording::readLists() {
    const Json& looks = json_.at("looks");
    if (looks.size() != kLooks)
        throw std::invalid_argument("looks are missing");
    for (unsigned look = 0; look < kLooks; ++look) {
        at_.push_back(looks.at(look).at("at").get<double>());
        for (const Json& list : looks.at(look).at("lists")) {
            const auto name = std::ranges::find(kKindNames, list.at("kind").get<std::string>());
            if (name == std::end(kKindNames))
                continue; // of a newer eadm
            const auto kind = static_cast<uint32_t>(name - std::begin(kKindNames));
            RecordedList& mine = lists_[{look, kind, list.at("device").get<uint32_t>()}];
            mine.hidden = list.at("hidden").get<uint64_t>();
            for (const Json& entry : list.at("entries"))
                mine.entries.push_back(bytesOf(entry.get<std::string>()));
            std::ranges::stable_sort(mine.entries, {}, [kind](const auto& entry) { return numberOf(kind, entry); });
        }
    }
}

uint32_t Recording::page(unsigned look, erdma_kind kind, uint32_t device, uint64_t& cursor, void* entries,
                         uint32_t size, uint32_t room, bool& more, uint64_t& hidden) const {
    more = false;
    const auto at = lists_.find({look, static_cast<uint32_t>(kind), device});
    if (at == lists_.end())
        return 0;
    const auto& all = at->second.entries;
    auto entry = std::ranges::lower_bound(all, cursor, {}, [kind](const auto& one) { return numberOf(kind, one); });
    uint32_t count = 0;
    for (; entry != all.end() && count < room; ++entry, ++count) {
        uint8_t* out = static_cast<uint8_t*>(entries) + size_t{count} * size;
        const size_t known = std::min<size_t>(size, entry->size());
        std::memcpy(out, entry->data(), known);
        std::memset(out + known, 0, size - known);
        cursor = numberOf(kind, *entry) + 1;
    }
    more = entry != all.end();
    if (!more)
        hidden += at->second.hidden;
    return count;
}

Json recordLook(const Driver& driver, Mask& mask) {
    Json look;
    look["at"] = steadySeconds();
    Json& lists = look["lists"] = Json::array();
    recordKind<erdma_info_device>(lists, driver, mask, ERDMA_KIND_DEVICE, 0);
    for (const auto& one : driver.list<erdma_info_device>(ERDMA_KIND_DEVICE, 0).entries) {
        const uint32_t device = one.device;
        recordKind<erdma_info_qp>(lists, driver, mask, ERDMA_KIND_QP, device);
        recordKind<erdma_info_cq>(lists, driver, mask, ERDMA_KIND_CQ, device);
        recordKind<erdma_info_eq>(lists, driver, mask, ERDMA_KIND_EQ, device);
        recordKind<erdma_info_mr>(lists, driver, mask, ERDMA_KIND_MR, device);
        recordKind<erdma_info_pd>(lists, driver, mask, ERDMA_KIND_PD, device);
        recordKind<erdma_info_ctx>(lists, driver, mask, ERDMA_KIND_CTX, device);
        recordKind<erdma_info_cep>(lists, driver, mask, ERDMA_KIND_CEP, device);
        recordKind<erdma_info_counter>(lists, driver, mask, ERDMA_KIND_COUNTER, device);
        recordKind<erdma_info_conf>(lists, driver, mask, ERDMA_KIND_CONF, device);
        if (driver.knows(ERDMA_KIND_FINDING))
            recordKind<erdma_info_finding>(lists, driver, mask, ERDMA_KIND_FINDING, device);
    }
    return look;
}

} // namespace eadm
