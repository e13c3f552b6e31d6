// SPDX-License-Identifier: GPL-2.0-or-later
// MPA frames as a stranger may send them, by the driver's code in user space: no octet behind the frame is asked for,
// the result is the same however the stream is cut, a frame that was read is built again, and the adapter understands
// every frame that the driver takes.
#include <algorithm>
#include <vector>

#include "fuzz.h"
#include "tracker.h"

extern "C" {
#include "src/erdma_mpa.h"
}

namespace erdma::fuzz {
namespace {

// The first result that is not 0; `taken`: octets that the reader asked for.
int read(erdma_mpa_reader& reader, erdma_mpa_kind kind, std::span<const uint8_t> bytes, std::span<const uint8_t> cuts,
         size_t& taken) {
    erdma_mpa_reader_init(&reader, kind);
    taken = 0;
    size_t cut = 0;
    int result = 0;
    while (result == 0 && taken < bytes.size()) {
        uint32_t space = 0;
        uint8_t* room = erdma_mpa_reader_room(&reader, &space);
        FUZZ_CHECK(space != 0, "an open frame without room");
        FUZZ_CHECK(room >= reader.bytes && room + space <= reader.bytes + sizeof(reader.bytes),
                   "room outside of the reader");
        size_t piece = std::min<size_t>(space, bytes.size() - taken);
        if (!cuts.empty())
            piece = std::min<size_t>(piece, 1 + cuts[cut++ % cuts.size()] % 32);
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(taken), piece, room);
        taken += piece;
        result = erdma_mpa_reader_stored(&reader, static_cast<uint32_t>(piece));
    }
    return result;
}

void play(Input& in) {
    const uint8_t flags = in.u8();
    const erdma_mpa_kind kind = (flags & 1) != 0 ? ERDMA_MPA_REPLY : ERDMA_MPA_REQUEST;
    const auto cuts = in.bytes(1 + (flags >> 1) % 4);
    std::vector<uint8_t> bytes;
    if ((flags & 0x80) == 0) // behind the right key
        for (const char c : std::string(kind == ERDMA_MPA_REPLY ? "MPA ID Rep Frame" : "MPA ID Req Frame"))
            bytes.push_back(static_cast<uint8_t>(c));
    const auto rest = in.bytes(in.size());
    bytes.insert(bytes.end(), rest.begin(), rest.end());

    erdma_mpa_reader whole, pieces;
    size_t takenWhole = 0, takenPieces = 0;
    const int result = read(whole, kind, bytes, {}, takenWhole);
    const int again = read(pieces, kind, bytes, cuts, takenPieces);
    FUZZ_CHECK(result == again, "a cut changes the result");
    FUZZ_CHECK(result == 1 || result == 0 || result == -EPROTO || result == -EPROTONOSUPPORT || result == -EMSGSIZE,
               "a result that is not documented");
    if (result != 1)
        return;
    const erdma_mpa_fields& f = whole.f;
    FUZZ_CHECK(takenWhole == takenPieces && takenWhole == erdma_mpa_frame_len(&f),
               "more or less than the frame was taken");
    FUZZ_CHECK(f.cookie == pieces.f.cookie && f.cc == pieces.f.cc && f.flags == pieces.f.flags, "a cut changes fields");
    const uint8_t* pd = erdma_mpa_reader_pd(&whole);
    FUZZ_CHECK(pd >= whole.bytes && pd + f.pd_len <= whole.bytes + sizeof(whole.bytes), "private data outside");

    // The adapter listens to the same octets.
    const MpaParse heard = parseMpa(std::as_bytes(std::span(bytes)).first(takenWhole), kind == ERDMA_MPA_REPLY);
    const bool enhanced = erdma_mpa_is_enhanced(&f) && !f.cut;
    FUZZ_CHECK(
        heard.kind == MpaParse::Kind::Header && heard.header.flags == f.flags && heard.header.revision == f.revision &&
            heard.header.privateBytes == f.pd_len + (enhanced ? ERDMA_MPA_ENH_BYTES : 0) &&
            heard.header.enhanced == enhanced &&
            (!enhanced || (heard.header.ird == f.ird && heard.header.ord == f.ord)) &&
            heard.header.cookie == f.cookie && heard.header.congestion == f.cc && heard.header.bytes() == takenWhole,
        "driver and adapter understand a frame in different ways");

    erdma_mpa_fields request = {};
    request.revision = f.revision;
    if (f.revision == ERDMA_MPA_REV_2)
        erdma_mpa_offer(&request, 4, 4);
    for (const erdma_mpa_crc crc : {ERDMA_MPA_CRC_NEVER, ERDMA_MPA_CRC_ACCEPT}) {
        const int taken =
            kind == ERDMA_MPA_REPLY ? erdma_mpa_check_reply(&f, &request, crc) : erdma_mpa_check_request(&f, crc);
        const int cannot = crc == ERDMA_MPA_CRC_NEVER ? ERDMA_MPA_MARKERS | ERDMA_MPA_CRC : ERDMA_MPA_MARKERS;
        FUZZ_CHECK(taken != 0 || (f.flags & cannot) == 0, "what the device cannot is taken");
    }
    std::vector<uint8_t> out(takenWhole);
    const int built = erdma_mpa_build(out.data(), static_cast<uint32_t>(out.size()), kind, &f, pd);
    if (f.pd_len > erdma_mpa_own_pd(f.revision)) {
        FUZZ_CHECK(built == -EINVAL, "too much private data is sent");
        return;
    }
    FUZZ_CHECK(built == static_cast<int>(takenWhole), "what was read cannot be built");
    // Reserved octets 24 to 26, and the high half of 27, are not kept.
    std::vector<uint8_t> want(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(takenWhole));
    if (f.revision == ERDMA_MPA_REV_ERDMA) {
        want[24] = want[25] = want[26] = 0;
        want[27] &= ERDMA_MPA_CC_MASK;
    }
    FUZZ_CHECK(out == want, "a frame is built in another way than it was read");
}

} // namespace
} // namespace erdma::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    erdma::fuzz::Input in(data, size);
    erdma::fuzz::play(in);
    return 0;
}
