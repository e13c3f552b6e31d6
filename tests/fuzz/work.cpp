// SPDX-License-Identifier: GPL-2.0-or-later
#include "work.h"

#include <algorithm>

namespace erdma::fuzz {

Sge makeSge(Input& in, const std::vector<Region>& regions) {
    const Region region = in.pick(regions);
    Sge out{};
    out.stag = region.stag;
    const uint8_t how = in.u8();
    // Mostly inside, with every remainder; sometimes at or over the end.
    out.addr = region.start + (how < 0xC0 ? in.u16() % region.octets : region.octets - how % 16u);
    const auto inside = static_cast<uint32_t>(region.start + region.octets - out.addr);
    out.length = (how & 0x20) != 0 ? in.u8() : inside == 0 ? 0 : in.u16() % (inside + 1);
    if (how == 0xFF)
        out.stag = in.u32();
    if (how == 0xFE)
        out.stag ^= 1u << in.below(32);
    if (how == 0xFD)
        out.addr = in.edge64();
    if (how == 0xFC)
        out.length = in.edge32();
    return out;
}

std::vector<std::byte> makeSqe(Input& in, const Poster& poster) {
    static constexpr std::array<uint8_t, 14> ops = {0, 0, 1, 2, 2, 3, 9, 13, 14, 15, 16, 17, 18, 4};
    const uint8_t chosen = in.u8();
    const auto op = static_cast<Op>(chosen < 0xF8 ? ops[chosen % ops.size()] : in.below(32));
    uint64_t flags = uint64_t{in.below(16)} << 22; // CE, SE, FENCE, INLINE
    const bool inlined = (flags & 1u << 25) != 0;
    std::vector<std::byte> raw(128, std::byte{0xEE});
    const auto putSge = [&](size_t at, const Sge& sge) {
        storeLe64(raw, at, sge.addr);
        storeLe32(raw, at + 8, sge.length);
        storeLe32(raw, at + 12, sge.stag);
    };
    uint32_t blocks = 2, listed = 0;
    // Local data from `offset` on.
    const auto putData = [&](size_t offset) {
        uint32_t total = 0;
        size_t used = offset;
        if (inlined) {
            const auto data = in.fewOctets(97);
            const auto fit = data.first(std::min(data.size(), raw.size() - offset));
            std::copy(fit.begin(), fit.end(), raw.begin() + static_cast<std::ptrdiff_t>(offset));
            total = listed = static_cast<uint32_t>(fit.size());
            used += fit.size();
        } else {
            listed = in.below(7);
            for (uint32_t i = 0; i < listed && used + 16 <= raw.size(); ++i, used += 16) {
                const Sge sge = makeSge(in, poster.own);
                total += sge.length;
                putSge(used, sge);
            }
        }
        storeLe32(raw, 12, total);
        blocks = static_cast<uint32_t>((used + 31) / 32);
    };

    switch (op) {
    case Op::Send:
    case Op::SendImm:
    case Op::SendInv:
        storeLe32(raw, 8, in.rarely(4) ? in.u32() : in.pick(poster.remote).stag);
        putData(16);
        break;
    case Op::Write:
    case Op::WriteImm: {
        const Sge target = makeSge(in, poster.remote);
        storeLe32(raw, 8, 0x01020304);
        storeLe32(raw, 16, target.stag);
        storeLe64(raw, 20, target.addr);
        putData(32);
        break;
    }
    case Op::Read:
    case Op::ReadInv: {
        const Sge sink = makeSge(in, poster.own);
        Sge source = makeSge(in, poster.remote);
        source.length = sink.length;
        storeLe32(raw, 8, sink.stag);
        storeLe32(raw, 12, sink.length);
        storeLe32(raw, 16, sink.stag);
        storeLe64(raw, 20, sink.addr);
        putSge(32, source);
        break;
    }
    case Op::CompareSwap:
    case Op::FetchAdd: {
        Sge target = makeSge(in, poster.remote), result = makeSge(in, poster.own);
        if (!in.rarely(8))
            target.addr &= ~uint64_t{7};
        result.length = 8;
        storeLe64(raw, 16, in.u16());
        storeLe64(raw, 24, in.below(2));
        putSge(32, target);
        putSge(48, result);
        break;
    }
    case Op::RegMr: {
        const Sge region = makeSge(in, poster.own);
        const uint32_t pages = in.below(6);
        storeLe64(raw, 8, region.addr);
        storeLe32(raw, 16, region.length);
        storeLe32(raw, 20, (region.stag & ~0xFFu) | in.below(4));
        const uint32_t zeroBased = in.below(4) == 0 ? 1u << 6 : 0;
        storeLe32(raw, 24, pages << 12 | zeroBased | in.below(64));
        storeLe32(raw, 28, 12);
        for (size_t i = 0; i < 4; ++i)
            storeLe64(raw, 32 + 8 * i, uint64_t{in.u8()} << 12);
        blocks = pages != 0 ? 2 : 1;
        break;
    }
    case Op::LocalInv:
        storeLe32(raw, 20, in.pick(poster.own).stag);
        blocks = 1;
        break;
    default:
        blocks = 1 + in.below(4);
        break;
    }
    storeLe64(raw, 0, uint64_t{listed} << 56 | uint64_t{static_cast<uint8_t>(op)} << 27 | flags);
    raw.resize(size_t{std::clamp(blocks, 1u, 4u)} * 32);
    if (in.rarely(32)) { // one octet of it is wrong
        const auto value = static_cast<std::byte>(in.u8());
        raw[in.below(static_cast<uint32_t>(raw.size()))] = value;
    }
    return raw;
}

} // namespace erdma::fuzz
