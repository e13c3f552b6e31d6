// SPDX-License-Identifier: GPL-2.0-or-later
// The driver's MPA frames (src/erdma_mpa.c) in user space: docs/spec/wire.md chapter 2.
#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "byteorder.h"
#include "crc32c.h"

extern "C" {
#include "src/erdma_mpa.h"
}

namespace {

using Frame = std::vector<uint8_t>;

// The dumps of wire.md 2.4.
const Frame kRequest = {0x4d, 0x50, 0x41, 0x20, 0x49, 0x44, 0x20, 0x52, 0x65, 0x71, 0x20, 0x46, 0x72, 0x61, 0x6d, 0x65,
                        0x00, 0x81, 0x00, 0x04, 0x00, 0x00, 0x00, 0x11, 0x00, 0x00, 0x00, 0x01, 0xca, 0xfe, 0xba, 0xbe};
const Frame kReply = {0x4d, 0x50, 0x41, 0x20, 0x49, 0x44, 0x20, 0x52, 0x65, 0x70, 0x20, 0x46, 0x72, 0x61,
                      0x6d, 0x65, 0x00, 0x81, 0x00, 0x00, 0x00, 0x00, 0x00, 0x22, 0x00, 0x00, 0x00, 0x01};
const Frame kReject = {0x4d, 0x50, 0x41, 0x20, 0x49, 0x44, 0x20, 0x52, 0x65, 0x70, 0x20, 0x46, 0x72, 0x61, 0x6d,
                       0x65, 0x20, 0x81, 0x00, 0x01, 0x00, 0x00, 0x00, 0x11, 0x00, 0x00, 0x00, 0x01, 0x05};

constexpr uint8_t kCubic = ERDMA_MPA_CC_CUBIC;

erdma_mpa_fields ofRevision(uint8_t revision, uint16_t pdLength = 0) {
    erdma_mpa_fields f{};
    f.revision = revision;
    f.pd_len = pdLength;
    return f;
}

erdma_mpa_fields fields(uint32_t cookie, uint16_t pdLength = 0, uint8_t flags = 0) {
    erdma_mpa_fields f = ofRevision(ERDMA_MPA_REV_ERDMA, pdLength);
    f.flags = flags;
    f.cc = kCubic;
    f.cookie = cookie;
    return f;
}

Frame built(erdma_mpa_kind kind, const erdma_mpa_fields& f, const Frame& pd, uint32_t size = ERDMA_MPA_FRAME_BYTES) {
    Frame out(size + 1, 0xEE);
    const int length = erdma_mpa_build(out.data(), size, kind, &f, pd.data());
    EXPECT_EQ(out[size], 0xEE) << "wrote behind the buffer";
    if (length < 0)
        return {};
    out.resize(static_cast<size_t>(length));
    return out;
}

// Gives the frame to a reader in pieces of at most `most` octets, no more than it asks for.  The last result; `taken`
// counts the octets.
int read(erdma_mpa_reader& r, erdma_mpa_kind kind, const Frame& bytes, size_t most, size_t* taken = nullptr) {
    erdma_mpa_reader_init(&r, kind);
    size_t at = 0;
    int result = 0;
    while (result == 0 && at < bytes.size()) {
        uint32_t space = 0;
        uint8_t* room = erdma_mpa_reader_room(&r, &space);
        EXPECT_GT(space, 0u);
        EXPECT_GE(room, r.bytes);
        EXPECT_LE(room + space, r.bytes + sizeof(r.bytes)) << "room behind the buffer";
        const size_t piece = std::min({most, size_t{space}, bytes.size() - at});
        std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(at), piece, room);
        at += piece;
        result = erdma_mpa_reader_stored(&r, static_cast<uint32_t>(piece));
    }
    if (taken)
        *taken = at;
    return result;
}

Frame with(Frame frame, size_t at, uint8_t value) {
    frame[at] = value;
    return frame;
}

Frame pdOf(const erdma_mpa_reader& r) {
    const uint8_t* pd = erdma_mpa_reader_pd(&r);
    return {pd, pd + r.f.pd_len};
}

TEST(Mpa, BuildsTheDumpsOfTheSpecification) {
    EXPECT_EQ(built(ERDMA_MPA_REQUEST, fields(0x11, 4), {0xca, 0xfe, 0xba, 0xbe}), kRequest);
    EXPECT_EQ(built(ERDMA_MPA_REPLY, fields(0x22), {}), kReply);
    EXPECT_EQ(built(ERDMA_MPA_REPLY, fields(0x11, 1, ERDMA_MPA_REJECT), {0x05}), kReject);
}

TEST(Mpa, ReadsThemBack) {
    erdma_mpa_reader r;
    ASSERT_EQ(read(r, ERDMA_MPA_REQUEST, kRequest, 1000), 1);
    EXPECT_EQ(r.f.flags, 0);
    EXPECT_EQ(r.f.revision, ERDMA_MPA_REV_ERDMA);
    EXPECT_EQ(r.f.cookie, 0x11u);
    EXPECT_EQ(r.f.cc, kCubic);
    EXPECT_EQ(pdOf(r), (Frame{0xca, 0xfe, 0xba, 0xbe}));
    ASSERT_EQ(read(r, ERDMA_MPA_REPLY, kReply, 1000), 1);
    EXPECT_EQ(r.f.cookie, 0x22u);
    EXPECT_TRUE(pdOf(r).empty());
    ASSERT_EQ(read(r, ERDMA_MPA_REPLY, kReject, 1000), 1);
    EXPECT_EQ(r.f.flags, ERDMA_MPA_REJECT);
    EXPECT_EQ(pdOf(r), Frame{0x05});
}

TEST(Mpa, EveryPrivateDataLengthComesBack) {
    for (uint16_t length = 0; length <= ERDMA_MPA_OWN_PD; ++length) {
        Frame pd(length);
        for (size_t i = 0; i < pd.size(); ++i)
            pd[i] = static_cast<uint8_t>(length + i);
        const Frame frame = built(ERDMA_MPA_REQUEST, fields(0xfedcba98, length), pd);
        const erdma_mpa_fields f = fields(0xfedcba98, length);
        ASSERT_EQ(frame.size(), erdma_mpa_frame_len(&f));
        erdma_mpa_reader r;
        ASSERT_EQ(read(r, ERDMA_MPA_REQUEST, frame, 7), 1) << length;
        EXPECT_EQ(r.f.cookie, 0xfedcba98u);
        EXPECT_EQ(pdOf(r), pd);
    }
}

// However the stream is cut, the result is the same, and no octet behind the frame is asked for.
TEST(Mpa, EverySegmentation) {
    Frame more = kRequest;
    more.insert(more.end(), {1, 2, 3});
    for (size_t piece = 1; piece <= more.size(); ++piece) {
        erdma_mpa_reader r;
        size_t taken = 0;
        ASSERT_EQ(read(r, ERDMA_MPA_REQUEST, more, piece, &taken), 1) << piece;
        EXPECT_EQ(taken, kRequest.size());
        uint32_t space = 1;
        erdma_mpa_reader_room(&r, &space);
        EXPECT_EQ(space, 0u);
    }
}

TEST(Mpa, EveryTruncationWaits) {
    for (const Frame& whole : {kRequest, built(ERDMA_MPA_REQUEST, fields(1, 255), Frame(255, 9))}) {
        for (size_t length = 0; length < whole.size(); ++length) {
            erdma_mpa_reader r;
            EXPECT_EQ(
                read(r, ERDMA_MPA_REQUEST, Frame(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length)), 64), 0)
                << length;
        }
    }
}

TEST(Mpa, WrongKeyShowsAtItsFirstOctet) {
    for (size_t at = 0; at < ERDMA_MPA_KEY_BYTES; ++at) {
        erdma_mpa_reader r;
        size_t taken = 0;
        EXPECT_EQ(read(r, ERDMA_MPA_REQUEST, with(kRequest, at, static_cast<uint8_t>(kRequest[at] ^ 1)), 1, &taken),
                  -EPROTO);
        EXPECT_EQ(taken, at + 1);
    }
    erdma_mpa_reader r;
    EXPECT_EQ(read(r, ERDMA_MPA_REQUEST, kReply, 1000), -EPROTO) << "a reply is no request";
    EXPECT_EQ(read(r, ERDMA_MPA_REPLY, kRequest, 1000), -EPROTO);
}

TEST(Mpa, OnlyRevisionsThatAreSpoken) {
    for (unsigned revision = 0; revision <= 255; ++revision) {
        erdma_mpa_reader r;
        size_t taken = 0;
        const int result = read(r, ERDMA_MPA_REQUEST, with(kRequest, 17, static_cast<uint8_t>(revision)), 1, &taken);
        if (revision == ERDMA_MPA_REV_ERDMA || revision == 1 || revision == 2) {
            EXPECT_EQ(result, 1);
            continue;
        }
        EXPECT_EQ(result, -EPROTONOSUPPORT) << revision;
        EXPECT_EQ(taken, ERDMA_MPA_HEAD_BYTES) << "known with the header";
        erdma_mpa_fields f = fields(1);
        f.revision = static_cast<uint8_t>(revision);
        EXPECT_TRUE(built(ERDMA_MPA_REQUEST, f, {}).empty());
    }
}

TEST(Mpa, PrivateDataLimits) {
    erdma_mpa_reader r;
    for (const uint32_t length : {256u, 257u, 512u, 513u, 0xffffu}) {
        Frame frame = kReply;
        frame[18] = static_cast<uint8_t>(length >> 8);
        frame[19] = static_cast<uint8_t>(length);
        frame.resize(28 + std::min(length, 600u), 7);
        size_t taken = 0;
        const int result = read(r, ERDMA_MPA_REPLY, frame, 1000, &taken);
        if (length <= ERDMA_MPA_PEER_PD) {
            EXPECT_EQ(result, 1);
            EXPECT_EQ(pdOf(r), Frame(length, 7));
        } else {
            EXPECT_EQ(result, -EMSGSIZE) << length;
            EXPECT_EQ(taken, ERDMA_MPA_HEAD_BYTES);
        }
    }
    EXPECT_FALSE(built(ERDMA_MPA_REPLY, fields(1, 255), Frame(255)).empty());
    EXPECT_TRUE(built(ERDMA_MPA_REPLY, fields(1, 256), Frame(256)).empty());
    EXPECT_TRUE(built(ERDMA_MPA_REPLY, fields(1, 0xffff), Frame(0xffff)).empty());
}

TEST(Mpa, NeverWritesBehindTheBuffer) {
    for (uint32_t size = 0; size < kRequest.size(); ++size)
        EXPECT_TRUE(built(ERDMA_MPA_REQUEST, fields(0x11, 4), {1, 2, 3, 4}, size).empty()) << size;
    EXPECT_EQ(built(ERDMA_MPA_REQUEST, fields(0x11, 4), {1, 2, 3, 4}, 32).size(), 32u);
}

TEST(Mpa, StoringMoreThanTheRoomIsRefused) {
    erdma_mpa_reader r;
    erdma_mpa_reader_init(&r, ERDMA_MPA_REQUEST);
    uint32_t space = 0;
    erdma_mpa_reader_room(&r, &space);
    EXPECT_EQ(erdma_mpa_reader_stored(&r, space + 1), -EPROTO);
    EXPECT_EQ(erdma_mpa_reader_stored(&r, UINT32_MAX), -EPROTO);
}

TEST(Mpa, ReservedBitsOfTheExtension) {
    Frame frame = kRequest;
    frame[24] = 0x80;
    frame[25] = frame[26] = 0xff;
    frame[27] = 0xf4;
    erdma_mpa_reader r;
    ASSERT_EQ(read(r, ERDMA_MPA_REQUEST, frame, 1000), 1);
    EXPECT_EQ(r.f.cc, 4);
    erdma_mpa_fields f = fields(1);
    f.cc = 0xff;
    EXPECT_EQ(built(ERDMA_MPA_REPLY, f, {})[27], 0x0f) << "nothing but the number is sent";
}

TEST(Mpa, WhatFlagsMean) {
    for (unsigned flags = 0; flags <= 255; ++flags) {
        const erdma_mpa_fields f = fields(1, 0, static_cast<uint8_t>(flags));
        for (const erdma_mpa_crc crc : {ERDMA_MPA_CRC_NEVER, ERDMA_MPA_CRC_ACCEPT, ERDMA_MPA_CRC_DEMAND}) {
            const unsigned tooMuch = crc == ERDMA_MPA_CRC_NEVER ? ERDMA_MPA_MARKERS | ERDMA_MPA_CRC : ERDMA_MPA_MARKERS;
            const bool wants = (flags & tooMuch) != 0;
            EXPECT_EQ(erdma_mpa_check_request(&f, crc), wants ? -ECONNREFUSED : 0) << flags;
            const erdma_mpa_fields request = fields(2);
            const int reply = erdma_mpa_check_reply(&f, &request, crc);
            if (flags & ERDMA_MPA_REJECT)
                EXPECT_EQ(reply, -ECONNRESET) << flags;
            else
                EXPECT_EQ(reply, wants ? -ECONNREFUSED : 0) << flags;
        }
    }
}

// Either side's word is enough, in every revision; whoever has none never gives it.
TEST(Mpa, CrcsByEitherFrame) {
    for (const uint8_t revision : {uint8_t{1}, uint8_t{2}, uint8_t{129}}) {
        for (const bool asked : {false, true}) {
            for (const erdma_mpa_crc crc : {ERDMA_MPA_CRC_NEVER, ERDMA_MPA_CRC_ACCEPT, ERDMA_MPA_CRC_DEMAND}) {
                erdma_mpa_fields request = ofRevision(revision);
                request.flags = asked ? ERDMA_MPA_CRC : 0;
                if (erdma_mpa_check_request(&request, crc) != 0) {
                    EXPECT_TRUE(asked && crc == ERDMA_MPA_CRC_NEVER);
                    continue;
                }
                erdma_mpa_fields reply = {};
                erdma_mpa_answer(&reply, &request, 8, 8, crc);
                const bool both = asked || crc == ERDMA_MPA_CRC_DEMAND;
                EXPECT_EQ((reply.flags & ERDMA_MPA_CRC) != 0, both);
                EXPECT_EQ(erdma_mpa_agreed_crc(&request, &reply), both);
                const erdma_mpa_fields silent = ofRevision(revision);
                EXPECT_EQ(erdma_mpa_agreed_crc(&request, &silent), asked) << "a reply without C changes nothing";
            }
        }
    }
}

// Those who cannot say how many reads they serve serve sixteen (wire.md 2.7).
TEST(Mpa, OrdOfRevisionsWithoutIt) {
    erdma_mpa_fields f = ofRevision(1);
    EXPECT_EQ(erdma_mpa_ord(&f, 128), 16);
    EXPECT_EQ(erdma_mpa_ord(&f, 3), 3);
    f.revision = 2;
    EXPECT_EQ(erdma_mpa_ord(&f, 128), 16);
    f.flags = ERDMA_MPA_ENHANCED;
    EXPECT_EQ(erdma_mpa_ord(&f, 128), 128);
    f = fields(1);
    EXPECT_EQ(erdma_mpa_ord(&f, 128), 128);
    const erdma_mpa_fields plain = ofRevision(1);
    uint8_t ird = 100, ord = 100;
    EXPECT_EQ(erdma_mpa_conclude(&plain, &plain, 128, &ird, &ord), 0);
    EXPECT_EQ(ird, 100);
    EXPECT_EQ(ord, 16);
}

TEST(Mpa, CongestionControlIsCommonOrCubic) {
    for (uint8_t own = 0; own < 16; ++own)
        for (uint8_t peer = 0; peer < 16; ++peer)
            EXPECT_EQ(erdma_mpa_common_cc(own, peer), own == peer ? own : kCubic);
}

// The dumps of wire.md 2.2 and 2.3.
const Frame kPlainRequest = {0x4d, 0x50, 0x41, 0x20, 0x49, 0x44, 0x20, 0x52, 0x65, 0x71,
                             0x20, 0x46, 0x72, 0x61, 0x6d, 0x65, 0x00, 0x01, 0x00, 0x00};
const Frame kEnhancedRequest = {0x4d, 0x50, 0x41, 0x20, 0x49, 0x44, 0x20, 0x52, 0x65, 0x71, 0x20, 0x46, 0x72,
                                0x61, 0x6d, 0x65, 0x10, 0x02, 0x00, 0x06, 0x80, 0x10, 0xc0, 0x10, 0x68, 0x69};
const Frame kEnhancedReply = {0x4d, 0x50, 0x41, 0x20, 0x49, 0x44, 0x20, 0x52, 0x65, 0x70, 0x20, 0x46,
                              0x72, 0x61, 0x6d, 0x65, 0x10, 0x02, 0x00, 0x04, 0x80, 0x10, 0x80, 0x10};

erdma_mpa_fields revision2(uint16_t ird, uint16_t ord, uint16_t pdLength = 0) {
    erdma_mpa_fields f = ofRevision(ERDMA_MPA_REV_2, pdLength);
    erdma_mpa_offer(&f, ird, ord);
    return f;
}

TEST(MpaStandard, BuildsTheDumpsOfTheSpecification) {
    EXPECT_EQ(built(ERDMA_MPA_REQUEST, ofRevision(ERDMA_MPA_REV_1), {}), kPlainRequest);
    const erdma_mpa_fields request = revision2(16, 16, 2);
    EXPECT_EQ(built(ERDMA_MPA_REQUEST, request, {'h', 'i'}), kEnhancedRequest);
    erdma_mpa_fields reply = {};
    erdma_mpa_answer(&reply, &request, 16, 16, ERDMA_MPA_CRC_ACCEPT);
    EXPECT_EQ(built(ERDMA_MPA_REPLY, reply, {}), kEnhancedReply);
}

TEST(MpaStandard, ReadsThemBack) {
    erdma_mpa_reader r;
    for (const size_t piece : {1u, 3u, 100u}) {
        ASSERT_EQ(read(r, ERDMA_MPA_REQUEST, kEnhancedRequest, piece), 1);
        EXPECT_TRUE(r.f.p2p);
        EXPECT_EQ(r.f.rtr, ERDMA_MPA_RTR_WRITE | ERDMA_MPA_RTR_READ);
        EXPECT_EQ(r.f.ird, 16);
        EXPECT_EQ(r.f.ord, 16);
        EXPECT_EQ(pdOf(r), (Frame{'h', 'i'}));
        ASSERT_EQ(read(r, ERDMA_MPA_REPLY, kEnhancedReply, piece), 1);
        EXPECT_EQ(r.f.rtr, ERDMA_MPA_RTR_WRITE);
        EXPECT_TRUE(pdOf(r).empty());
        ASSERT_EQ(read(r, ERDMA_MPA_REQUEST, kPlainRequest, piece), 1);
        EXPECT_FALSE(erdma_mpa_is_enhanced(&r.f));
    }
}

TEST(MpaStandard, PrivateDataLimits) {
    for (const uint8_t revision : {uint8_t{1}, uint8_t{2}}) {
        for (const uint32_t length : {0u, 255u, 256u, 511u, 512u, 513u, 0xffffu}) {
            Frame frame = with(kPlainRequest, 17, revision);
            frame[18] = static_cast<uint8_t>(length >> 8);
            frame[19] = static_cast<uint8_t>(length);
            frame.resize(20 + std::min(length, 600u), 7);
            erdma_mpa_reader r;
            const int result = read(r, ERDMA_MPA_REQUEST, frame, 1000);
            EXPECT_EQ(result, length <= ERDMA_MPA_RFC_PD ? 1 : -EMSGSIZE) << length;
            if (result == 1) {
                EXPECT_EQ(pdOf(r), Frame(length, 7));
            }
        }
    }
    EXPECT_EQ(built(ERDMA_MPA_REQUEST, ofRevision(1, 255), Frame(255)).size(), 275u);
    EXPECT_EQ(built(ERDMA_MPA_REQUEST, revision2(1, 1, 252), Frame(252)).size(), 276u);
    EXPECT_TRUE(built(ERDMA_MPA_REQUEST, revision2(1, 1, 253), Frame(253)).empty());
}

// S announces four octets that are not there: no request to be taken, and no reply.
TEST(MpaStandard, CutExtension) {
    for (uint8_t length = 0; length < 4; ++length) {
        Frame frame = with(with(with(kPlainRequest, 16, 0x10), 17, 2), 19, length);
        frame.resize(20u + length, 0xff);
        erdma_mpa_reader r;
        ASSERT_EQ(read(r, ERDMA_MPA_REQUEST, frame, 1), 1);
        EXPECT_EQ(erdma_mpa_check_request(&r.f, ERDMA_MPA_CRC_ACCEPT), -ECONNREFUSED);
        EXPECT_EQ(pdOf(r), Frame(length, 0xff));
        const erdma_mpa_fields request = revision2(1, 1);
        EXPECT_EQ(erdma_mpa_check_reply(&r.f, &request, ERDMA_MPA_CRC_ACCEPT), -EPROTO);
    }
}

TEST(MpaStandard, WhatAResponderAnswers) {
    struct Case {
        uint16_t ird, ord; // of the request
        uint8_t rtr;
        bool p2p;
        uint16_t wantIrd, wantOrd; // with 8 and 16 of its own
        uint8_t wantRtr;
    };
    constexpr uint8_t kSend = ERDMA_MPA_RTR_SEND, kWrite = ERDMA_MPA_RTR_WRITE, kRead = ERDMA_MPA_RTR_READ;
    for (const Case& one : {Case{4, 4, kWrite | kRead, true, 8, 4, kWrite}, Case{128, 128, kRead, true, 128, 16, kRead},
                            Case{128, 129, kSend, true, 8, 16, kSend}, Case{4, 4, kRead | kSend, true, 8, 4, kRead},
                            Case{0x3fff, 0x3fff, 0, true, 8, 16, kWrite}, Case{0, 0, kWrite, false, 8, 0, 0}}) {
        erdma_mpa_fields request = revision2(one.ird, one.ord);
        request.rtr = one.rtr;
        request.p2p = one.p2p;
        erdma_mpa_fields reply = ofRevision(0, 3);
        erdma_mpa_answer(&reply, &request, 8, 16, ERDMA_MPA_CRC_ACCEPT);
        EXPECT_TRUE(erdma_mpa_is_enhanced(&reply));
        EXPECT_EQ(reply.ird, one.wantIrd);
        EXPECT_EQ(reply.ord, one.wantOrd);
        EXPECT_EQ(reply.rtr, one.wantRtr);
        EXPECT_EQ(reply.p2p, one.p2p);
        EXPECT_EQ(reply.pd_len, 3);
    }
    erdma_mpa_fields reply = {};
    const erdma_mpa_fields plain = ofRevision(1);
    erdma_mpa_answer(&reply, &plain, 8, 16, ERDMA_MPA_CRC_ACCEPT);
    EXPECT_EQ(reply.revision, 1);
    EXPECT_EQ(reply.flags, 0);
}

TEST(MpaStandard, WhatAnInitiatorTakes) {
    const erdma_mpa_fields request = revision2(4, 8);
    erdma_mpa_fields reply = {};
    erdma_mpa_answer(&reply, &request, 2, 2, ERDMA_MPA_CRC_NEVER);
    EXPECT_EQ(erdma_mpa_check_reply(&reply, &request, ERDMA_MPA_CRC_NEVER), 0);

    erdma_mpa_fields other = reply;
    other.revision = 1;
    EXPECT_EQ(erdma_mpa_check_reply(&other, &request, ERDMA_MPA_CRC_NEVER), -EPROTONOSUPPORT);
    other = reply;
    other.flags = 0;
    EXPECT_EQ(erdma_mpa_check_reply(&other, &request, ERDMA_MPA_CRC_NEVER), -ECONNRESET) << "asked for S";
    for (const uint8_t flag : {uint8_t{ERDMA_MPA_CRC}, uint8_t{ERDMA_MPA_MARKERS}}) {
        other = reply;
        other.flags = static_cast<uint8_t>(reply.flags | flag);
        EXPECT_EQ(erdma_mpa_check_reply(&other, &request, ERDMA_MPA_CRC_NEVER), -ECONNREFUSED);
        other.flags |= ERDMA_MPA_REJECT;
        EXPECT_EQ(erdma_mpa_check_reply(&other, &request, ERDMA_MPA_CRC_NEVER), -ECONNRESET);
    }

    uint8_t ird = 4, ord = 8;
    other = reply;
    other.ird = 3;
    other.ord = 100;
    EXPECT_EQ(erdma_mpa_conclude(&other, &request, 128, &ird, &ord), 0);
    EXPECT_EQ(ird, 100) << "raised to what the responder may ask";
    EXPECT_EQ(ord, 3) << "lowered to what the responder serves";
    ird = 4, ord = 8;
    EXPECT_EQ(erdma_mpa_conclude(&other, &request, 99, &ird, &ord), ERDMA_MPA_TERM_IRD);
    other.ird = other.ord = ERDMA_MPA_UNSAID;
    EXPECT_EQ(erdma_mpa_conclude(&other, &request, 99, &ird, &ord), 0);
    EXPECT_EQ(ird, 4);
    EXPECT_EQ(ord, 8);
    for (const uint8_t rtr : {uint8_t{0}, uint8_t{ERDMA_MPA_RTR_SEND}}) {
        other.rtr = rtr;
        EXPECT_EQ(erdma_mpa_conclude(&other, &request, 128, &ird, &ord), ERDMA_MPA_TERM_RTR);
    }
}

// The dump of 4.8, of other codes.
TEST(MpaStandard, Terminate) {
    Frame frame(ERDMA_MPA_TERMINATE_BYTES);
    for (const uint8_t code : {uint8_t{ERDMA_MPA_TERM_IRD}, uint8_t{ERDMA_MPA_TERM_RTR}}) {
        erdma_mpa_terminate(frame.data(), code, true);
        const auto octets = std::as_bytes(std::span(frame));
        EXPECT_EQ(erdma::loadLe32(octets, 24), erdma::crc32c(octets.first(24))) << unsigned{code};
    }
    erdma_mpa_terminate(frame.data(), ERDMA_MPA_TERM_RTR, false);
    EXPECT_EQ(frame,
              (Frame{0, 0x16, 0x41, 0x47, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0x20, 7, 0, 0, 0, 0, 0, 0}));
}

} // namespace
