// SPDX-License-Identifier: GPL-2.0-or-later
// FPDUs: the dumps of wire.md chapters 3 and 4 both ways, every cut of the stream, and everything that must be refused.

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "byteorder.h"
#include "crc32c.h"
#include "fpdu.h"

namespace erdma::test {

namespace {

using Octets = std::vector<std::byte>;
using Result = FpduDecoder::Result;
using Dialect = FpduFormat::Dialect;

constexpr FpduFormat kVendorCrc{.dialect = Dialect::Vendor, .crc = true};
constexpr FpduFormat kVendor{.dialect = Dialect::Vendor, .crc = false};
constexpr FpduFormat kStandard{.dialect = Dialect::Standard, .crc = false};

Octets hex(const std::string& text) {
    Octets out;
    std::string digits;
    for (const char c : text) {
        if (c != ' ')
            digits += c;
        if (digits.size() == 2) {
            out.push_back(static_cast<std::byte>(std::stoul(digits, nullptr, 16)));
            digits.clear();
        }
    }
    return out;
}

Octets text(const char* s) {
    Octets out;
    for (; *s != 0; ++s)
        out.push_back(static_cast<std::byte>(*s));
    return out;
}

Octets encode(const Segment& segment, const FpduFormat& format = kVendorCrc, const QuotedHeaders* quoted = nullptr) {
    Octets out;
    encodeFpdu(segment, format, out, quoted);
    return out;
}

bool same(const Segment& a, const Segment& b) {
    return a.op == b.op && a.last == b.last && a.stag == b.stag && a.to == b.to && a.message == b.message &&
           a.offset == b.offset && a.immediate == b.immediate && a.writeLength == b.writeLength &&
           a.read.sinkStag == b.read.sinkStag && a.read.sinkTo == b.read.sinkTo && a.read.size == b.read.size &&
           a.read.sourceStag == b.read.sourceStag && a.read.sourceTo == b.read.sourceTo && a.atomic.id == b.atomic.id &&
           a.atomic.compareSwap == b.atomic.compareSwap && a.atomic.stag == b.atomic.stag &&
           a.atomic.to == b.atomic.to && a.atomic.operand == b.atomic.operand && a.atomic.compare == b.atomic.compare &&
           a.atomicResponse.id == b.atomicResponse.id && a.atomicResponse.original == b.atomicResponse.original &&
           std::equal(a.payload.begin(), a.payload.end(), b.payload.begin(), b.payload.end());
}

struct Dump {
    const char* name;
    Octets octets;
    Segment segment;
};

// Payloads live as long as the program: Segment only points to them.
const std::vector<Dump>& dumps() {
    static const Octets hello = text("hello"), abcd = text("ABCD"), inv = text("inv"), data = text("data"),
                        count = hex("00 01 02 03 04 05 06 07"), zs = Octets(8, std::byte{0x5A});
    static const std::vector<Dump> list{
        {"send",
         hex("00 17 41 43 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00 68 65 6c 6c 6f 00 00 00 b9 90 b1 0c"),
         {.op = SegmentOp::Send, .message = 1, .payload = hello}},
        {"rtr",
         hex("00 0e c1 40 00 00 00 01 00 00 00 00 00 00 00 00 eb d3 4c 5f"),
         {.op = SegmentOp::Write, .stag = 1}},
        {"send se",
         hex("00 16 41 45 00 00 00 00 00 00 00 00 00 00 00 02 00 00 00 00 41 42 43 44 75 e6 88 cc"),
         {.op = SegmentOp::SendSe, .message = 2, .payload = abcd}},
        {"send invalidate",
         hex("00 15 41 44 00 01 23 45 00 00 00 00 00 00 00 03 00 00 00 00 69 6e 76 00 6b b0 47 8d"),
         {.op = SegmentOp::SendInv, .stag = 0x12345, .message = 3, .payload = inv}},
        {"send immediate",
         hex("00 16 41 4c de ad be ef 00 00 00 00 00 00 00 05 00 00 00 00 64 61 74 61 14 c0 bb 89"),
         {.op = SegmentOp::SendImm, .message = 5, .immediate = 0xDEADBEEF, .payload = data}},
        {"write",
         hex("00 16 c1 40 00 00 0a 01 00 00 7f 00 00 00 10 00 00 01 02 03 04 05 06 07 21 62 52 27"),
         {.op = SegmentOp::Write, .stag = 0xA01, .to = 0x7F0000001000, .payload = count}},
        {"read request",
         hex("00 2e 41 41 00 00 00 00 00 00 00 01 00 00 00 01 00 00 00 00 00 00 0b 02 00 00 7f 00 00 00 20 00"
             "00 00 00 40 00 00 0c 03 00 00 7f 00 00 00 30 00 12 8d 88 42"),
         {.op = SegmentOp::ReadRequest, .message = 1, .read = {0xB02, 0x7F0000002000, 64, 0xC03, 0x7F0000003000}}},
        {"read response",
         hex("00 16 c1 42 00 00 0b 02 00 00 7f 00 00 00 20 00 5a 5a 5a 5a 5a 5a 5a 5a fb 9d 2e 82"),
         {.op = SegmentOp::ReadResponse, .stag = 0xB02, .to = 0x7F0000002000, .payload = zs}},
        {"immediate",
         hex("00 1a 41 48 00 00 00 00 00 00 00 00 00 00 00 04 00 00 00 00 de ad be ef 00 00 00 08 95 4e dd d9"),
         {.op = SegmentOp::Immediate, .message = 4, .immediate = 0xDEADBEEF, .writeLength = 8}},
        {"compare and swap",
         hex("00 46 41 4a 00 00 00 00 00 00 00 01 00 00 00 02 00 00 00 00 00 00 00 02 00 00 00 07 00 00 0d 04"
             "00 00 7f 00 00 00 40 00 00 00 00 00 00 00 11 11 ff ff ff ff ff ff ff ff 00 00 00 00 00 00 22 22"
             "ff ff ff ff ff ff ff ff d5 bb 4d c7"),
         {.op = SegmentOp::AtomicRequest, .message = 2, .atomic = {7, true, 0xD04, 0x7F0000004000, 0x1111, 0x2222}}},
    };
    return list;
}

TEST(WireFpdu, DumpsOfTheSpecification) {
    for (const Dump& dump : dumps()) {
        EXPECT_EQ(encode(dump.segment), dump.octets) << dump.name;
        FpduDecoder decoder(kVendorCrc);
        ConstBytes input = dump.octets;
        ASSERT_EQ(decoder.take(input), Result::Segment) << dump.name;
        EXPECT_TRUE(input.empty());
        EXPECT_TRUE(same(decoder.segment(), dump.segment)) << dump.name;
        EXPECT_FALSE(decoder.insideFpdu());
    }
}

TEST(WireFpdu, WithoutCrcTheFieldIsZeroAndIgnored) {
    for (const Dump& dump : dumps()) {
        Octets octets = encode(dump.segment, kVendor);
        EXPECT_EQ(loadLe32(octets, octets.size() - 4), 0u);
        storeLe32(octets, octets.size() - 4, 0xDEADBEEF);
        FpduDecoder decoder(kVendor);
        ConstBytes input = octets;
        ASSERT_EQ(decoder.take(input), Result::Segment) << dump.name;
        EXPECT_TRUE(same(decoder.segment(), dump.segment)) << dump.name;
    }
}

TEST(WireFpdu, TerminateDumps) {
    const Octets offending =
        encode({.op = SegmentOp::Write, .stag = 0xDEAD0001, .to = 0x1000, .payload = dumps()[5].segment.payload});
    FpduDecoder decoder(kVendorCrc);
    ConstBytes input = offending;
    ASSERT_EQ(decoder.take(input), Result::Segment);
    Segment terminate{.op = SegmentOp::Terminate};
    terminate.terminate.code = TerminateCode{1, 1, 0};
    const Octets tagged =
        hex("00 26 41 47 00 00 00 00 00 00 00 02 00 00 00 01 00 00 00 00 11 00 c0 00 00 16 c1 40 de ad "
            "00 01 00 00 00 00 00 00 10 00 7a ca 5a be");
    EXPECT_EQ(encode(terminate, kVendorCrc, &decoder.quoted()), tagged);

    terminate.terminate.code = TerminateCode{2, 0, 2};
    const Octets plain = hex("00 16 41 47 00 00 00 00 00 00 00 02 00 00 00 01 00 00 00 00 20 02 00 00 7f e4 25 85");
    EXPECT_EQ(encode(terminate, kVendorCrc, &decoder.quoted()), plain); // nothing is quoted for this code

    input = tagged;
    ASSERT_EQ(decoder.take(input), Result::Segment);
    EXPECT_EQ(decoder.segment().op, SegmentOp::Terminate);
    const TerminateInfo info = decoder.segment().terminate;
    EXPECT_EQ(info.code.number, 0x1100u);
    EXPECT_EQ(info.culprit, TerminateInfo::Culprit::Write);
    EXPECT_EQ(info.to, 0x1000u);
    EXPECT_EQ(info.syndrome, Syndrome::RecvStag);
    input = plain;
    ASSERT_EQ(decoder.take(input), Result::Segment);
    EXPECT_EQ(decoder.segment().terminate.code.number, 0x2002u);
    EXPECT_EQ(decoder.segment().terminate.culprit, TerminateInfo::Culprit::Unknown);
    EXPECT_EQ(decoder.segment().terminate.syndrome, Syndrome::General);
}

// 4.8: which codes quote which headers.
TEST(WireFpdu, TerminateQuotesWhatTheCodeAsksFor) {
    const auto bits = [](const Octets& offending, TerminateCode code) {
        FpduDecoder decoder(kVendor);
        ConstBytes input = offending;
        decoder.take(input);
        Segment terminate{.op = SegmentOp::Terminate};
        terminate.terminate.code = code;
        const Octets octets = encode(terminate, kVendor, &decoder.quoted());
        return std::pair<uint16_t, size_t>(loadBe16(octets, 22), loadBe16(octets, 0));
    };
    const Octets read = encode(dumps()[6].segment, kVendor), send = encode(dumps()[0].segment, kVendor);
    using Pair = std::pair<uint16_t, size_t>;
    EXPECT_EQ(bits(read, {0, 1, 1}), Pair(0xE000, 22 + 2 + 18 + 28));
    EXPECT_EQ(bits(send, {0, 1, 9}), Pair(0xC000, 22 + 2 + 18));
    EXPECT_EQ(bits(send, {1, 2, 5}), Pair(0xC000, 22 + 2 + 18));
    EXPECT_EQ(bits(read, {1, 2, 2}), Pair(0xC000, 22 + 2 + 18));
    EXPECT_EQ(bits(send, {1, 1, 4}), Pair(0, 22));
    EXPECT_EQ(bits(send, {1, 2, 6}), Pair(0, 22));
    EXPECT_EQ(bits(send, {0, 2, 6}), Pair(0, 22));
    EXPECT_EQ(bits(send, {0, 2, 0xFF}), Pair(0, 22));
    EXPECT_EQ(bits(send, {0, 0, 0}), Pair(0, 22));
    EXPECT_EQ(bits(send, {2, 0, 3}), Pair(0, 22));
}

TEST(WireFpdu, TerminateNamesTheCulpritWithoutTheSegment) {
    using Culprit = TerminateInfo::Culprit;
    for (const Culprit culprit : {Culprit::Unknown, Culprit::Write, Culprit::Send, Culprit::Request}) {
        Segment terminate{.op = SegmentOp::Terminate};
        terminate.terminate.code = TerminateCode{0, 1, 2};
        terminate.terminate.culprit = culprit;
        terminate.terminate.message = 77;
        terminate.terminate.to = 0x123456789AB;
        FpduDecoder decoder(kVendorCrc);
        const Octets octets = encode(terminate);
        ConstBytes input = octets;
        ASSERT_EQ(decoder.take(input), Result::Segment);
        const TerminateInfo& info = decoder.segment().terminate;
        EXPECT_EQ(info.culprit, culprit);
        EXPECT_EQ(info.message, culprit == Culprit::Send || culprit == Culprit::Request ? 77u : 0u);
        EXPECT_EQ(info.to, culprit == Culprit::Write ? 0x123456789ABu : 0u);
        EXPECT_EQ(info.syndrome, Syndrome::RecvRights);
    }
}

TEST(WireFpdu, EveryOpcodeSurvivesBothWays) {
    const Octets payload = text("0123456789");
    for (const FpduFormat& format : {kVendorCrc, kVendor, FpduFormat{Dialect::Standard, true, true}}) {
        for (uint8_t op = 0; op < 16; ++op) {
            if (!opcodeAllowed(format, static_cast<SegmentOp>(op)) ||
                static_cast<SegmentOp>(op) == SegmentOp::Terminate)
                continue;
            Segment segment{.op = static_cast<SegmentOp>(op)};
            switch (segment.op) {
            case SegmentOp::Write:
            case SegmentOp::ReadResponse:
                segment.last = false;
                segment.stag = 0xFFFFFFFF;
                segment.to = 0xFEDCBA9876543210;
                segment.payload = payload;
                break;
            case SegmentOp::ReadRequest:
                segment.message = 0xFFFFFFFF;
                segment.read = {1, 2, 0xFFFFFFFF, 4, 5};
                break;
            case SegmentOp::AtomicRequest:
                segment.message = 9;
                segment.atomic = {0x80000001, false, 3, 8, ~uint64_t{0}, 0};
                break;
            case SegmentOp::AtomicResponse:
                segment.message = 10;
                segment.atomicResponse = {0x80000001, 0x8000000000000001};
                break;
            case SegmentOp::Immediate:
            case SegmentOp::ImmediateSe:
                segment.message = 11;
                segment.immediate = 0x01020304;
                segment.writeLength = format.dialect == Dialect::Vendor ? 0x05060708 : 0;
                break;
            default:
                segment.last = false;
                segment.message = 12;
                segment.offset = 4096;
                segment.payload = payload;
                if (segment.op == SegmentOp::SendImm || segment.op == SegmentOp::SendImmSe)
                    segment.immediate = 0xA1B2C3D4;
                else if (segment.op != SegmentOp::Send && segment.op != SegmentOp::SendSe)
                    segment.stag = 0x0A0B0C0D;
                break;
            }
            const Octets octets = encode(segment, format);
            EXPECT_EQ(octets.size() % 4, 0u);
            FpduDecoder decoder(format);
            ConstBytes input = octets;
            ASSERT_EQ(decoder.take(input), Result::Segment) << int{op};
            EXPECT_TRUE(same(decoder.segment(), segment)) << int{op};
        }
    }
}

TEST(WireFpdu, ImmediateOfDialectSCarriesNoLength) {
    const Octets octets = encode({.op = SegmentOp::Immediate, .message = 1, .immediate = 5, .writeLength = 8},
                                 FpduFormat{Dialect::Standard, false, true});
    EXPECT_EQ(loadBe32(octets, 24), 0u);
}

TEST(WireFpdu, CutAtEveryOctetAndOneByOne) {
    Octets stream;
    for (const Dump& dump : dumps())
        stream.insert(stream.end(), dump.octets.begin(), dump.octets.end());
    const auto run = [&](const std::vector<size_t>& cuts) {
        FpduDecoder decoder(kVendorCrc);
        size_t found = 0;
        size_t from = 0;
        for (const size_t cut : cuts) {
            const Octets piece(stream.begin() + static_cast<std::ptrdiff_t>(from),
                               stream.begin() + static_cast<std::ptrdiff_t>(cut));
            ConstBytes input = piece;
            for (Result result; (result = decoder.take(input)) == Result::Segment; ++found)
                ASSERT_TRUE(same(decoder.segment(), dumps()[found].segment)) << found;
            ASSERT_TRUE(input.empty());
            from = cut;
        }
        EXPECT_EQ(found, dumps().size());
        EXPECT_FALSE(decoder.insideFpdu());
    };
    for (size_t cut = 0; cut <= stream.size(); ++cut)
        run({cut, stream.size()});
    std::vector<size_t> all;
    for (size_t cut = 1; cut <= stream.size(); ++cut)
        all.push_back(cut);
    run(all);
}

TEST(WireFpdu, KeptSegmentOutlivesItsInput) {
    FpduDecoder decoder(kVendorCrc);
    Octets octets = dumps()[0].octets;
    ConstBytes input = octets;
    ASSERT_EQ(decoder.take(input), Result::Segment);
    decoder.keep();
    octets = Octets();
    EXPECT_TRUE(same(decoder.segment(), dumps()[0].segment));
    decoder.keep();
    EXPECT_TRUE(same(decoder.segment(), dumps()[0].segment));
    EXPECT_FALSE(decoder.insideFpdu());
    input = dumps()[1].octets;
    ASSERT_EQ(decoder.take(input), Result::Segment);
    EXPECT_TRUE(same(decoder.segment(), dumps()[1].segment));
    decoder.keep(); // no payload
    EXPECT_TRUE(same(decoder.segment(), dumps()[1].segment));
}

TEST(WireFpdu, LongestFpdu) {
    const Octets payload(65535 - 18, std::byte{0x77});
    const Octets octets = encode({.op = SegmentOp::Send, .message = 1, .payload = payload});
    EXPECT_EQ(octets.size(), kMaxFpduBytes);
    for (const size_t cut : {size_t{0}, size_t{1}, size_t{2}, size_t{65543}, octets.size()}) {
        FpduDecoder decoder(kVendorCrc);
        ConstBytes input = ConstBytes(octets).first(cut);
        Result result = decoder.take(input);
        if (result == Result::NeedMore) {
            EXPECT_EQ(decoder.insideFpdu(), cut != 0);
            input = ConstBytes(octets).subspan(cut);
            result = decoder.take(input);
        }
        ASSERT_EQ(result, Result::Segment);
        EXPECT_EQ(decoder.segment().payload.size(), payload.size());
    }
}

// 3.4: the table.
TEST(WireFpdu, PayloadOfASegment) {
    EXPECT_EQ(fpduPayload(1460, true), 1440u);
    EXPECT_EQ(fpduPayload(1460, false), 1436u);
    EXPECT_EQ(fpduPayload(1448, true), 1428u);
    EXPECT_EQ(fpduPayload(1448, false), 1424u);
    EXPECT_EQ(fpduPayload(8448, true), 8428u);
    EXPECT_EQ(fpduPayload(8448, false), 8424u);
    EXPECT_EQ(fpduPayload(8948, true), 8928u);
    EXPECT_EQ(fpduPayload(8948, false), 8924u);
    EXPECT_EQ(fpduPayload(40, true), fpduPayload(128, true));
    for (size_t emss = 128; emss < 2000; ++emss) { // full segments fit and need no pad
        for (const bool tagged : {true, false}) {
            const Octets payload(fpduPayload(emss, tagged));
            const Octets octets = encode({.op = tagged ? SegmentOp::Write : SegmentOp::Send, .payload = payload});
            ASSERT_LE(octets.size(), emss);
            ASSERT_GT(octets.size() + 4, emss);
            ASSERT_EQ(payload.size() % 4, 0u);
        }
    }
}

struct Bad {
    const char* name;
    Octets octets;
    uint32_t detail;
    FpduFormat format = kVendor;
};

// 9.7: one bad FPDU each; the decoder says what the Terminate must say and stays dead.
TEST(WireFpdu, RefusedFpdus) {
    const auto changed = [](size_t dump, size_t at, uint8_t value) {
        Octets octets = dumps()[dump].octets;
        store8(octets, at, value);
        return octets;
    };
    const auto lengthened = [](size_t dump, unsigned ulpdu) { // with matching frame size
        Octets octets = dumps()[dump].octets;
        octets.resize(((2 + ulpdu + 3) & ~3u) + 4);
        storeAs<uint16_t>(octets, 0, static_cast<uint16_t>(ulpdu), std::endian::big);
        return octets;
    };
    enum { kSend = 0, kWrite = 5, kRead = 6, kImmediate = 8, kAtomic = 9 };
    const Octets terminate = encode({.op = SegmentOp::Terminate}, kVendor);
    const Octets atomicResponse = encode({.op = SegmentOp::AtomicResponse, .message = 1}, kVendor);
    Octets shortTerminate = terminate, longAtomicResponse = atomicResponse;
    storeAs<uint16_t>(shortTerminate, 0, 21, std::endian::big);
    longAtomicResponse.resize(36 + 4);
    storeAs<uint16_t>(longAtomicResponse, 0, 31, std::endian::big);

    std::vector<Bad> list{
        {"length 0", hex("00 00 00 00 00 00 00 00"), 0x2003},
        {"length 1", hex("00 01 c1 00 00 00 00 00"), 0x2003},
        {"length 2", hex("00 02 c1 40 00 00 00 00"), 0x2003},
        {"tagged 13", lengthened(kWrite, 13), 0x2003},
        {"untagged 17", lengthened(kSend, 17), 0x2003},
        {"read request 45", lengthened(kRead, 45), 0x2003},
        {"read request 47", lengthened(kRead, 47), 0x02FF},
        {"terminate 21", shortTerminate, 0x2003},
        {"immediate 25", lengthened(kImmediate, 25), 0x2003},
        {"immediate 27", lengthened(kImmediate, 27), 0x02FF},
        {"atomic 69", lengthened(kAtomic, 69), 0x2003},
        {"atomic 71", lengthened(kAtomic, 71), 0x02FF},
        {"atomic response 31", longAtomicResponse, 0x02FF},
        {"write with T = 0", changed(kWrite, 2, 0x41), 0x0206},
        {"send with T = 1", changed(kSend, 2, 0xC1), 0x0206},
        {"opcode E", changed(kSend, 3, 0x4E), 0x0206},
        {"opcode F", changed(kWrite, 3, 0x4F), 0x0206},
        {"send on queue 4", changed(kSend, 11, 4), 0x1201},
        {"send on queue 2^24", changed(kSend, 8, 1), 0x1201},
        {"read request on queue 0", changed(kRead, 11, 0), 0x1201},
        {"read request not last", changed(kRead, 2, 0x01), 0x02FF},
        {"read request with offset", changed(kRead, 19, 4), 0x1204},
        {"atomic operation 3", changed(kAtomic, 23, 3), 0x02FF},
        {"atomic operation 1", changed(kAtomic, 23, 1), 0x02FF},
        {"masked swap", changed(kAtomic, 48, 0), 0x02FF},
        {"masked compare", changed(kAtomic, 71, 0), 0x02FF},
        {"send immediate, dialect S", dumps()[4].octets, 0x0206, kStandard},
        {"send immediate, dialect S with RFC 7306", dumps()[4].octets, 0x0206, {Dialect::Standard, false, true}},
        {"immediate, dialect S", dumps()[kImmediate].octets, 0x0206, kStandard},
        {"atomic, dialect S", dumps()[kAtomic].octets, 0x0206, kStandard},
    };
    for (const unsigned version : {0u, 2u, 3u}) {
        list.push_back({"DDP version, tagged", changed(kWrite, 2, static_cast<uint8_t>(0xC0 | version)), 0x1104});
        list.push_back({"DDP version, untagged", changed(kSend, 2, static_cast<uint8_t>(0x40 | version)), 0x1206});
        list.push_back({"RDMAP version", changed(kSend, 3, static_cast<uint8_t>(version << 6 | 3)), 0x0205});
    }
    for (const Bad& bad : list) {
        for (const bool crc : {false, true}) {
            FpduFormat format = bad.format;
            format.crc = crc;
            Octets octets = bad.octets;
            if (crc)
                storeLe32(octets, octets.size() - 4, crc32c(ConstBytes(octets).first(octets.size() - 4)));
            FpduDecoder decoder(format);
            ConstBytes input = octets;
            ASSERT_EQ(decoder.take(input), Result::Failed) << bad.name;
            EXPECT_EQ(decoder.failure().detail(), bad.detail) << bad.name;
            ConstBytes good = dumps()[0].octets;
            EXPECT_EQ(decoder.take(good), Result::Failed) << bad.name;
            EXPECT_EQ(good.size(), dumps()[0].octets.size());
        }
    }
}

TEST(WireFpdu, EveryDamagedBitIsACrcErrorAndNothingElse) {
    for (const Dump& dump : dumps()) {
        for (size_t bit = 16; bit < dump.octets.size() * 8; ++bit) {
            Octets octets = dump.octets;
            octets[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
            FpduDecoder decoder(kVendorCrc);
            ConstBytes input = octets;
            ASSERT_EQ(decoder.take(input), Result::Failed) << dump.name << " " << bit;
            ASSERT_EQ(decoder.failure().detail(), 0x2002u) << dump.name << " " << bit;
        }
    }
}

TEST(WireFpdu, ReservedBitsAndPadAreIgnored) {
    Octets octets = dumps()[0].octets;
    store8(octets, 2, 0x41 | 0x3C);
    store8(octets, 3, 0x43 | 0x30);
    store8(octets, 25, 0xEE);
    store8(octets, 27, 0xEE);
    store8(octets, 4, 0xFF); // RsvdULP of a plain Send
    FpduDecoder decoder(kVendor);
    ConstBytes input = octets;
    ASSERT_EQ(decoder.take(input), Result::Segment);
    EXPECT_TRUE(same(decoder.segment(), dumps()[0].segment));
}

// 9.7 number 107: announced headers that are not there.
TEST(WireFpdu, ShortTerminateIsNotReadBeyond) {
    Segment terminate{.op = SegmentOp::Terminate};
    terminate.terminate = {.code = TerminateCode{1, 1, 1}, .culprit = TerminateInfo::Culprit::Write, .to = 9};
    const Octets whole = encode(terminate, kVendor);
    for (unsigned length = 22; length <= 38; ++length) {
        for (const uint8_t bits : {uint8_t{0x80}, uint8_t{0x40}, uint8_t{0xC0}, uint8_t{0xE0}, uint8_t{0xFF}}) {
            Octets octets(whole.begin(), whole.begin() + 2 + length);
            storeAs<uint16_t>(octets, 0, static_cast<uint16_t>(length), std::endian::big);
            store8(octets, 22, bits);
            octets.resize(((2 + length + 3) & ~3u) + 4);
            FpduDecoder decoder(kVendor);
            ConstBytes input = octets;
            ASSERT_EQ(decoder.take(input), Result::Segment);
            EXPECT_EQ(decoder.segment().terminate.code.number, 0x1101u);
            EXPECT_EQ(decoder.segment().terminate.culprit == TerminateInfo::Culprit::Write,
                      length == 38 && (bits & 0x40) != 0);
        }
    }
}

TEST(WireFpdu, RandomStreamsNeverCrash) {
    for (uint32_t seed = 1; seed <= 20000; ++seed) {
        std::mt19937 random(seed);
        Octets stream;
        if (seed % 2 == 0) { // valid FPDUs with damage
            for (int i = 0; i < 4; ++i) {
                const Octets& dump = dumps()[random() % dumps().size()].octets;
                stream.insert(stream.end(), dump.begin(), dump.end());
            }
            for (auto hits = random() % 4; hits != 0; --hits)
                stream[random() % stream.size()] = static_cast<std::byte>(random());
        } else {
            stream.resize(random() % 300);
            for (std::byte& b : stream)
                b = static_cast<std::byte>(random());
            if (stream.size() > 3) {
                store8(stream, 0, 0);
                store8(stream, 2, static_cast<uint8_t>((random() & 0xC0) | 1));
                store8(stream, 3, static_cast<uint8_t>((random() & 0x0F) | 0x40));
            }
        }
        FpduDecoder decoder(seed % 3 == 0 ? kStandard : seed % 3 == 1 ? kVendor : kVendorCrc);
        size_t from = 0;
        bool dead = false;
        while (from < stream.size() && !dead) {
            const size_t length = std::min<size_t>(1 + random() % 60, stream.size() - from);
            const Octets piece(stream.begin() + static_cast<std::ptrdiff_t>(from),
                               stream.begin() + static_cast<std::ptrdiff_t>(from + length));
            ConstBytes input = piece;
            Result result;
            while ((result = decoder.take(input)) == Result::Segment) {
                uint32_t sum = 0; // touches every octet
                for (const std::byte b : decoder.segment().payload)
                    sum += std::to_integer<uint32_t>(b);
                ASSERT_LE(sum, 255u * 70000);
                if (random() % 2 == 0)
                    decoder.keep();
            }
            dead = result == Result::Failed;
            from += length;
        }
    }
}

} // namespace

} // namespace erdma::test
