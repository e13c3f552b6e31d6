// SPDX-License-Identifier: GPL-2.0-or-later
// FPDUs as a peer may send them: the decoder takes no more than there is, says the same however the stream is cut, and
// what it understood is said again by the encoder.
#include <vector>

#include "byteorder.h"
#include "crc32c.h"
#include "fpdu.h"
#include "fuzz.h"

namespace erdma::fuzz {
namespace {

using Octets = std::vector<std::byte>;
using Result = FpduDecoder::Result;

struct Heard {
    Segment segment;
    Octets payload;
};
struct Reading {
    std::vector<Heard> heard;
    bool failed = false;
    TerminateCode why{};
    size_t taken = 0;
    bool inside = false;
};

bool same(const Segment& a, const Segment& b) {
    return a.op == b.op && a.last == b.last && a.stag == b.stag && a.to == b.to && a.message == b.message &&
           a.offset == b.offset && a.immediate == b.immediate && a.writeLength == b.writeLength &&
           a.read.sinkStag == b.read.sinkStag && a.read.sinkTo == b.read.sinkTo && a.read.size == b.read.size &&
           a.read.sourceStag == b.read.sourceStag && a.read.sourceTo == b.read.sourceTo && a.atomic.id == b.atomic.id &&
           a.atomic.compareSwap == b.atomic.compareSwap && a.atomic.stag == b.atomic.stag &&
           a.atomic.to == b.atomic.to && a.atomic.operand == b.atomic.operand && a.atomic.compare == b.atomic.compare &&
           a.atomicResponse.id == b.atomicResponse.id && a.atomicResponse.original == b.atomicResponse.original;
}

// `cuts`: lengths of the pieces, again and again; empty: all at once.
Reading read(const FpduFormat& format, ConstBytes stream, std::span<const uint8_t> cuts) {
    Reading out;
    FpduDecoder decoder(format);
    size_t cut = 0;
    while (out.taken < stream.size() && !out.failed) {
        size_t piece = stream.size() - out.taken;
        if (!cuts.empty())
            piece = std::min<size_t>(piece, 1 + cuts[cut++ % cuts.size()]);
        // A copy of exactly that length, so that reading behind it shows.
        const Octets octets(stream.begin() + static_cast<std::ptrdiff_t>(out.taken),
                            stream.begin() + static_cast<std::ptrdiff_t>(out.taken + piece));
        ConstBytes input(octets);
        while (!input.empty() && !out.failed) {
            const size_t before = input.size();
            const Result result = decoder.take(input);
            FUZZ_CHECK(input.size() <= before, "the decoder gave octets back");
            FUZZ_CHECK(result != Result::NeedMore || input.empty(), "the decoder wants more and leaves some");
            FUZZ_CHECK(result != Result::Segment || input.size() < before, "a segment out of nothing");
            if (result == Result::Segment) {
                const Segment& s = decoder.segment();
                FUZZ_CHECK(opcodeAllowed(format, s.op), "an opcode that this connection does not have");
                out.heard.push_back({s, {s.payload.begin(), s.payload.end()}});
                out.heard.back().segment.payload = {};
            }
            out.failed = result == Result::Failed;
        }
        out.taken += piece;
    }
    out.why = out.failed ? decoder.failure() : TerminateCode{};
    out.inside = !out.failed && decoder.insideFpdu();
    if (out.failed) {
        ConstBytes none;
        FUZZ_CHECK(decoder.take(none) == Result::Failed, "a failure that is not final");
    }
    return out;
}

// ULPDUs of the input in frames that are right, but for what the input spoils.
Octets framed(Input& in, const FpduFormat& format) {
    Octets out;
    while (!in.empty() && out.size() < 8192) {
        const uint8_t how = in.u8();
        const uint32_t length = (how & 0x80) != 0 ? in.u8() : 14 + in.below(50);
        const auto ulpdu = in.octets(length);
        const size_t start = out.size();
        out.resize(start + 2 + ulpdu.size());
        storeBe16(out, start, static_cast<uint16_t>(ulpdu.size() + ((how & 0x1F) == 1 ? in.u8() : 0)));
        std::copy(ulpdu.begin(), ulpdu.end(), out.begin() + static_cast<std::ptrdiff_t>(start + 2));
        if ((how & 0x40) != 0 && ulpdu.size() >= 2) {
            // DDP and RDMAP control that fit each other.
            const uint8_t op = (how >> 1) & 0xF;
            const bool tagged = op == 0 || op == 2;
            out[start + 2] = static_cast<std::byte>((tagged ? 0x80 : 0) | ((how & 1) != 0 ? 0x40 : 0) | 1);
            out[start + 3] = static_cast<std::byte>(0x40 | op);
        }
        while ((out.size() - start) % 4 != 0)
            out.push_back(std::byte{0});
        const uint32_t crc = format.crc ? crc32c(ConstBytes(out).subspan(start)) : 0;
        out.resize(out.size() + 4);
        storeLe32(out, out.size() - 4, (how & 0x1F) == 2 ? crc ^ in.u8() : crc);
    }
    return out;
}

void play(Input& in) {
    const uint8_t flags = in.u8();
    FpduFormat format;
    format.dialect = (flags & 1) != 0 ? FpduFormat::Dialect::Standard : FpduFormat::Dialect::Vendor;
    format.crc = (flags & 2) != 0;
    format.rfc7306 = (flags & 4) != 0;
    const auto cuts = in.bytes(1 + (flags >> 3) % 4);
    Octets stream;
    if ((flags & 0x20) != 0) {
        stream = framed(in, format);
    } else {
        const auto all = in.octets(in.size());
        stream.assign(all.begin(), all.end());
    }

    const Reading whole = read(format, stream, {});
    const Reading pieces = read(format, stream, cuts);
    FUZZ_CHECK(whole.heard.size() == pieces.heard.size() && whole.failed == pieces.failed &&
                   whole.inside == pieces.inside && whole.why == pieces.why,
               "a cut changes what is heard");
    for (size_t i = 0; i < whole.heard.size(); ++i)
        FUZZ_CHECK(same(whole.heard[i].segment, pieces.heard[i].segment) &&
                       whole.heard[i].payload == pieces.heard[i].payload,
                   "a cut changes a segment");

    for (const Heard& heard : whole.heard) {
        if (heard.segment.op == SegmentOp::Terminate) // its quotation is made up anew
            continue;
        Segment said = heard.segment;
        said.payload = heard.payload;
        Octets again;
        encodeFpdu(said, format, again);
        FUZZ_CHECK(again.size() <= kMaxFpduBytes, "an FPDU that is too long");
        const Reading back = read(format, again, {});
        FUZZ_CHECK(back.heard.size() == 1 && !back.failed, "what was understood cannot be said");
        FUZZ_CHECK(same(back.heard[0].segment, heard.segment) && back.heard[0].payload == heard.payload,
                   "what was understood is said in another way");
    }
}

} // namespace
} // namespace erdma::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    erdma::fuzz::Input in(data, size);
    erdma::fuzz::play(in);
    return 0;
}
