// SPDX-License-Identifier: GPL-2.0-or-later
// What the driver tells eadm: every ring content decodes to facts that fit a terminal and JSON.
#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decode.h"
#include "doctor.h"
#include "fuzz.h"

namespace erdma::fuzz {
namespace {

bool printable(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

// The same bytes as what check mode found, of a driver or a file that lies.
void tellFindings(std::span<const uint8_t> bytes) {
    eadm::Snapshot snapshot;
    snapshot.driver = true;
    snapshot.adapters.resize(1);
    auto& found = snapshot.adapters[0].found;
    found.resize(1);
    found[0].flags = ERDMA_FINDING_ON;
    for (size_t at = 0; at < bytes.size(); at += sizeof(erdma_info_finding)) {
        const size_t rest = std::min(bytes.size() - at, sizeof(erdma_info_finding));
        std::memcpy(&found.emplace_back(), bytes.data() + at, rest);
    }
    for (const eadm::Finding& finding : eadm::diagnose(snapshot)) {
        FUZZ_CHECK(printable(finding.text) && printable(finding.advice), "a finding that cannot be printed");
        const eadm::Json json = eadm::toJson(finding);
        FUZZ_CHECK(eadm::Json::parse(json.dump()) == json, "JSON that says something else");
    }
}

void play(Input& in) {
    static constexpr std::array<const char*, 6> words = {"sq", "rq", "cq", "eq", "cmdq", "cmdcq"};
    static constexpr std::array<uint32_t, 7> sizes = {32, 16, 128, 64, 0, 1, 8};
    eadm::RingShape shape = *eadm::ringNamed(in.pick(words));
    const uint8_t flags = in.u8();
    shape.asynchronous = (flags & 1) != 0;
    const bool hex = (flags & 2) != 0;
    // As Driver::dump() leaves it, whatever the driver said.
    eadm::RingPart part;
    part.entryBytes = in.pick(sizes);
    part.first = in.edge32();
    part.depth = in.edge32();
    part.count =
        part.entryBytes == 0 ? in.u8() : static_cast<uint32_t>((in.size() + part.entryBytes - 1) / part.entryBytes);
    const auto bytes = in.bytes(in.size());
    part.bytes.assign(bytes.begin(), bytes.end());
    tellFindings(part.bytes);
    part.bytes.resize(size_t{part.count} * part.entryBytes);
    part.bytes.shrink_to_fit();

    const eadm::Json list = eadm::decodeRing(shape, part, hex);
    FUZZ_CHECK(list.is_array() && list.size() <= part.count, "more entries than the ring has");
    FUZZ_CHECK((part.count == 0) == list.empty(), "entries are missing");
    for (const eadm::Json& entry : list) {
        const std::string line = eadm::entryLine(entry);
        FUZZ_CHECK(!line.empty() && line.back() == '\n', "an entry without line");
        FUZZ_CHECK(std::ranges::all_of(line, [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); }),
                   "a line that is not fit for a terminal");
        // Also throws when a text is not UTF-8.
        FUZZ_CHECK(eadm::Json::parse(entry.dump()) == entry, "JSON that says something else");
    }
    const std::string text = eadm::textOf(part.bytes);
    FUZZ_CHECK(printable(text), "a text that cannot be printed");
}

} // namespace
} // namespace erdma::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    erdma::fuzz::Input in(data, size);
    erdma::fuzz::play(in);
    return 0;
}
