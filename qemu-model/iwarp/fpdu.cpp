// SPDX-License-Identifier: GPL-2.0-or-later
#include "fpdu.h"

#include <algorithm>
#include <cassert>

#include "byteorder.h"
#include "crc32c.h"

namespace erdma {

namespace {

constexpr uint8_t kTagged = 0x80;
constexpr uint8_t kLast = 0x40;
constexpr uint8_t kDdpVersion = 0x01;
constexpr uint8_t kRdmapVersion = 0x40;
constexpr size_t kTaggedBytes = 14; // DDP header, control octets included
constexpr size_t kUntaggedBytes = 18;
constexpr size_t kReadHeader = 28;
constexpr size_t kCrcBytes = 4;
constexpr size_t kMinEmss = 128; // 3.4

constexpr uint32_t kAtomicFetchAdd = 0;
constexpr uint32_t kAtomicCompareSwap = 2;
constexpr uint64_t kAllOnes = ~uint64_t{0};

constexpr uint16_t kLengthValid = 0x8000; // Terminate header bits
constexpr uint16_t kDdpFollows = 0x4000;
constexpr uint16_t kRdmapFollows = 0x2000;

// 4.1: SegmentOp has the numbers of the wire.
static_assert(static_cast<int>(SegmentOp::Write) == 0 && static_cast<int>(SegmentOp::Terminate) == 7 &&
              static_cast<int>(SegmentOp::AtomicRequest) == 0xA && static_cast<int>(SegmentOp::SendImmSe) == 0xD);

struct OpcodeRow {
    bool valid;
    bool tagged;
    bool extension; // RFC 7306 and private ones
    uint8_t queue;  // untagged
    uint8_t fixed;  // octets of a ULPDU without payload
    bool exact;     // nothing may follow
};

constexpr OpcodeRow row(uint8_t op) {
    switch (static_cast<SegmentOp>(op)) {
    case SegmentOp::Write:
    case SegmentOp::ReadResponse:
        return {true, true, false, 0, kTaggedBytes, false};
    case SegmentOp::ReadRequest:
        return {true, false, false, 1, kUntaggedBytes + kReadHeader, true};
    case SegmentOp::Send:
    case SegmentOp::SendInv:
    case SegmentOp::SendSe:
    case SegmentOp::SendSeInv:
        return {true, false, false, 0, kUntaggedBytes, false};
    case SegmentOp::Terminate:
        return {true, false, false, 2, kUntaggedBytes + 4, false};
    case SegmentOp::Immediate:
    case SegmentOp::ImmediateSe:
        return {true, false, true, 0, kUntaggedBytes + 8, true};
    case SegmentOp::AtomicRequest:
        return {true, false, true, 1, kUntaggedBytes + 52, true};
    case SegmentOp::AtomicResponse:
        return {true, false, true, 3, kUntaggedBytes + 12, true};
    case SegmentOp::SendImm:
    case SegmentOp::SendImmSe:
        return {true, false, true, 0, kUntaggedBytes, false};
    }
    return {false, false, false, 0, 0, false};
}

bool isPrivate(SegmentOp op) { return op == SegmentOp::SendImm || op == SegmentOp::SendImmSe; }

uint64_t loadBe64(ConstBytes from, size_t offset) { return loadAs<uint64_t>(from, offset, std::endian::big); }

// Appends big-endian integers.
class Appender {
public:
    explicit Appender(std::vector<std::byte>& out) : out_(out) {}
    template <std::unsigned_integral T> void put(T value) {
        for (size_t i = sizeof(T); i-- != 0;)
            out_.push_back(static_cast<std::byte>(value >> (8 * i)));
    }
    void put(ConstBytes octets) { out_.insert(out_.end(), octets.begin(), octets.end()); }

private:
    std::vector<std::byte>& out_;
};

void putUntagged(Appender& to, const Segment& segment, uint32_t reserved, uint32_t msn, uint32_t mo) {
    to.put(reserved);
    to.put(uint32_t{row(static_cast<uint8_t>(segment.op)).queue});
    to.put(msn);
    to.put(mo);
}

void putTerminate(Appender& to, TerminateCode code, const QuotedHeaders& quoted) {
    const bool protection = code.layer == 0 && code.type == 1;
    const bool buffer = code.layer == 1 && ((code.type == 1 && code.code != 4) || (code.type == 2 && code.code != 6));
    const bool ddp = (protection || buffer) && quoted.ddpBytes != 0;
    const bool read = protection && ddp && quoted.readRequest;
    to.put(static_cast<uint8_t>(code.layer << 4 | (code.type & 0xF)));
    to.put(code.code);
    to.put(static_cast<uint16_t>((ddp ? kLengthValid | kDdpFollows : 0) | (read ? kRdmapFollows : 0)));
    if (!ddp)
        return;
    to.put(quoted.segmentBytes);
    to.put(ConstBytes(quoted.ddp).first(quoted.ddpBytes));
    if (read)
        to.put(ConstBytes(quoted.read));
}

void putAtomicRequest(Appender& to, const AtomicRequest& request) {
    to.put(request.compareSwap ? kAtomicCompareSwap : kAtomicFetchAdd);
    to.put(request.id);
    to.put(request.stag);
    to.put(request.to);
    to.put(request.operand);
    to.put(request.compareSwap ? kAllOnes : uint64_t{0});
    to.put(request.compareSwap ? request.compare : uint64_t{0});
    to.put(request.compareSwap ? kAllOnes : uint64_t{0});
}

} // namespace

bool opcodeAllowed(const FpduFormat& format, SegmentOp op) {
    const OpcodeRow known = row(static_cast<uint8_t>(op));
    if (!known.valid)
        return false;
    if (isPrivate(op))
        return format.dialect == FpduFormat::Dialect::Vendor;
    return !known.extension || format.extended();
}

QuotedHeaders quoteFrom(const TerminateInfo& info) {
    QuotedHeaders quoted;
    if (info.culprit == TerminateInfo::Culprit::Unknown)
        return quoted;
    const bool tagged = info.culprit == TerminateInfo::Culprit::Write;
    const bool request = info.culprit == TerminateInfo::Culprit::Request;
    const SegmentOp op = tagged ? SegmentOp::Write : request ? SegmentOp::ReadRequest : SegmentOp::Send;
    const Bytes ddp = quoted.ddp;
    store8(ddp, 0, static_cast<uint8_t>((tagged ? kTagged : 0) | kLast | kDdpVersion));
    store8(ddp, 1, static_cast<uint8_t>(kRdmapVersion | static_cast<uint8_t>(op)));
    quoted.segmentBytes = row(static_cast<uint8_t>(op)).fixed;
    if (tagged) {
        quoted.ddpBytes = kTaggedBytes;
        storeAs<uint64_t>(ddp, 6, info.to, std::endian::big);
    } else {
        quoted.ddpBytes = kUntaggedBytes;
        storeBe32(ddp, 6, request ? 1 : 0);
        storeBe32(ddp, 10, info.message);
    }
    return quoted;
}

void encodeFpdu(const Segment& segment, const FpduFormat& format, std::vector<std::byte>& out,
                const QuotedHeaders* quoted) {
    const size_t start = out.size();
    const auto opcode = static_cast<uint8_t>(segment.op);
    const OpcodeRow known = row(opcode);
    assert(known.valid && segment.payload.size() + known.fixed <= 0xFFFF);
    Appender to(out);
    to.put(uint16_t{0}); // length, known at the end
    to.put(static_cast<uint8_t>((known.tagged ? kTagged : 0) | (segment.last ? kLast : 0) | kDdpVersion));
    to.put(static_cast<uint8_t>(kRdmapVersion | opcode));
    switch (segment.op) {
    case SegmentOp::Write:
    case SegmentOp::ReadResponse:
        to.put(segment.stag);
        to.put(segment.to);
        to.put(segment.payload);
        break;
    case SegmentOp::Send:
    case SegmentOp::SendSe:
    case SegmentOp::SendInv:
    case SegmentOp::SendSeInv:
        putUntagged(to, segment, segment.stag, segment.message, segment.offset);
        to.put(segment.payload);
        break;
    case SegmentOp::SendImm:
    case SegmentOp::SendImmSe:
        putUntagged(to, segment, segment.immediate, segment.message, segment.offset);
        to.put(segment.payload);
        break;
    case SegmentOp::Immediate:
    case SegmentOp::ImmediateSe:
        putUntagged(to, segment, 0, segment.message, 0);
        to.put(segment.immediate);
        to.put(format.dialect == FpduFormat::Dialect::Vendor ? segment.writeLength : uint32_t{0});
        break;
    case SegmentOp::ReadRequest:
        putUntagged(to, segment, 0, segment.message, 0);
        to.put(segment.read.sinkStag);
        to.put(segment.read.sinkTo);
        to.put(segment.read.size);
        to.put(segment.read.sourceStag);
        to.put(segment.read.sourceTo);
        break;
    case SegmentOp::AtomicRequest:
        putUntagged(to, segment, 0, segment.message, 0);
        putAtomicRequest(to, segment.atomic);
        break;
    case SegmentOp::AtomicResponse:
        putUntagged(to, segment, 0, segment.message, 0);
        to.put(segment.atomicResponse.id);
        to.put(segment.atomicResponse.original);
        break;
    case SegmentOp::Terminate:
        putUntagged(to, segment, 0, 1, 0);
        putTerminate(to, TerminateCode::of(segment.terminate.code),
                     quoted != nullptr ? *quoted : quoteFrom(segment.terminate));
        break;
    }
    storeAs<uint16_t>(Bytes(out).subspan(start), 0, static_cast<uint16_t>(out.size() - start - 2), std::endian::big);
    while ((out.size() - start) % 4 != 0)
        out.push_back(std::byte{0});
    const uint32_t crc = format.crc ? crc32c(ConstBytes(out).subspan(start)) : 0;
    out.resize(out.size() + kCrcBytes);
    storeLe32(out, out.size() - kCrcBytes, crc);
}

size_t fpduPayload(size_t emss, bool tagged) {
    const size_t fpdu = std::min(std::max(emss, kMinEmss), size_t{65536}) & ~size_t{3};
    return fpdu - 2 - kCrcBytes - (tagged ? kTaggedBytes : kUntaggedBytes);
}

FpduDecoder::Result FpduDecoder::take(ConstBytes& input) {
    if (failed_)
        return Result::Failed;
    if (complete_) {
        buffer_.clear();
        complete_ = false;
    }
    const auto takeUpTo = [&](size_t target) {
        const size_t piece = std::min(input.size(), target - buffer_.size());
        buffer_.insert(buffer_.end(), input.begin(), input.begin() + static_cast<std::ptrdiff_t>(piece));
        input = input.subspan(piece);
        return buffer_.size() == target;
    };
    const auto total = [](size_t ulpdu) { return ((2 + ulpdu + 3) & ~size_t{3}) + kCrcBytes; };

    if (buffer_.empty() && input.size() >= 2) { // all of it at once: no copy
        const size_t ulpdu = loadBe16(input, 0);
        if (input.size() >= total(ulpdu)) {
            const ConstBytes fpdu = input.first(total(ulpdu));
            input = input.subspan(fpdu.size());
            return parse(fpdu, ulpdu);
        }
    }
    if (buffer_.size() < 2 && !takeUpTo(2))
        return Result::NeedMore;
    const size_t ulpdu = loadBe16(buffer_, 0);
    if (!takeUpTo(total(ulpdu)))
        return Result::NeedMore;
    complete_ = true;
    return parse(buffer_, ulpdu);
}

void FpduDecoder::keep() {
    if (complete_ || current_.empty())
        return;
    const size_t offset = segment_.payload.empty() ? 0 : static_cast<size_t>(segment_.payload.data() - current_.data());
    buffer_.assign(current_.begin(), current_.end());
    complete_ = true;
    current_ = buffer_;
    segment_.payload = ConstBytes(buffer_).subspan(offset, segment_.payload.size());
}

FpduDecoder::Result FpduDecoder::fail(uint8_t layer, uint8_t type, uint8_t code) {
    failed_ = true;
    failure_ = {layer, type, code};
    return Result::Failed;
}

void FpduDecoder::quote(ConstBytes ulpdu, bool tagged) {
    const size_t bytes = tagged ? kTaggedBytes : kUntaggedBytes;
    if (ulpdu.size() < bytes)
        return;
    quoted_.ddpBytes = static_cast<uint8_t>(bytes);
    std::copy_n(ulpdu.begin(), bytes, quoted_.ddp.begin());
    if (segment_.op != SegmentOp::ReadRequest || tagged || ulpdu.size() < kUntaggedBytes + kReadHeader)
        return;
    quoted_.readRequest = true;
    std::copy_n(ulpdu.begin() + kUntaggedBytes, kReadHeader, quoted_.read.begin());
}

FpduDecoder::Result FpduDecoder::parse(ConstBytes fpdu, size_t ulpduBytes) {
    current_ = fpdu;
    segment_ = Segment{};
    quoted_ = QuotedHeaders{};
    quoted_.segmentBytes = static_cast<uint16_t>(ulpduBytes);
    const size_t covered = fpdu.size() - kCrcBytes;
    if (format_.crc && crc32c(fpdu.first(covered)) != loadLe32(fpdu, covered))
        return fail(2, 0, 2);
    const ConstBytes ulpdu = fpdu.subspan(2, ulpduBytes);
    if (ulpdu.size() < 2)
        return fail(2, 0, 3);

    const uint8_t control = load8(ulpdu, 0);
    const uint8_t opcode = load8(ulpdu, 1) & 0xF;
    const bool tagged = (control & kTagged) != 0;
    if ((control & 3) != kDdpVersion)
        return tagged ? fail(1, 1, 4) : fail(1, 2, 6);
    if ((load8(ulpdu, 1) & 0xC0) != kRdmapVersion)
        return fail(0, 2, 5);
    const OpcodeRow known = row(opcode);
    if (!known.valid || known.tagged != tagged || !opcodeAllowed(format_, static_cast<SegmentOp>(opcode)))
        return fail(0, 2, 6);
    segment_.op = static_cast<SegmentOp>(opcode);
    segment_.last = (control & kLast) != 0;
    quote(ulpdu, tagged);
    if (ulpdu.size() < known.fixed)
        return fail(2, 0, 3);
    return tagged ? parseTagged(ulpdu) : parseUntagged(ulpdu);
}

FpduDecoder::Result FpduDecoder::parseTagged(ConstBytes ulpdu) {
    segment_.stag = loadBe32(ulpdu, 2);
    segment_.to = loadBe64(ulpdu, 6);
    segment_.payload = ulpdu.subspan(kTaggedBytes);
    return Result::Segment;
}

FpduDecoder::Result FpduDecoder::parseUntagged(ConstBytes ulpdu) {
    const OpcodeRow known = row(static_cast<uint8_t>(segment_.op));
    const uint32_t reserved = loadBe32(ulpdu, 2);
    if (loadBe32(ulpdu, 6) != known.queue)
        return fail(1, 2, 1);
    segment_.message = loadBe32(ulpdu, 10);
    segment_.offset = loadBe32(ulpdu, 14);
    // Messages that are one segment by definition.
    if (known.exact && (ulpdu.size() != known.fixed || !segment_.last))
        return fail(0, 2, 0xFF);
    if (known.exact && segment_.offset != 0)
        return fail(1, 2, 4);
    switch (segment_.op) {
    case SegmentOp::SendInv:
    case SegmentOp::SendSeInv:
        segment_.stag = reserved;
        break;
    case SegmentOp::SendImm:
    case SegmentOp::SendImmSe:
        segment_.immediate = reserved;
        break;
    case SegmentOp::Immediate:
    case SegmentOp::ImmediateSe:
        segment_.immediate = loadBe32(ulpdu, 18);
        if (format_.dialect == FpduFormat::Dialect::Vendor)
            segment_.writeLength = loadBe32(ulpdu, 22);
        return Result::Segment;
    case SegmentOp::ReadRequest:
        segment_.read = {loadBe32(ulpdu, 18), loadBe64(ulpdu, 22), loadBe32(ulpdu, 30), loadBe32(ulpdu, 34),
                         loadBe64(ulpdu, 38)};
        return Result::Segment;
    case SegmentOp::AtomicRequest:
        return parseAtomic(ulpdu);
    case SegmentOp::AtomicResponse:
        segment_.atomicResponse = {loadBe32(ulpdu, 18), loadBe64(ulpdu, 22)};
        return Result::Segment;
    case SegmentOp::Terminate:
        parseTerminate(ulpdu.subspan(kUntaggedBytes));
        return Result::Segment;
    default:
        break;
    }
    segment_.payload = ulpdu.subspan(kUntaggedBytes);
    return Result::Segment;
}

// Only the plain forms of the two operations; anything masked is a bad operation to this adapter.
FpduDecoder::Result FpduDecoder::parseAtomic(ConstBytes ulpdu) {
    const uint32_t operation = loadBe32(ulpdu, 18) & 0xF;
    const uint64_t mask = loadBe64(ulpdu, 46);
    const bool swap = operation == kAtomicCompareSwap && mask == kAllOnes && loadBe64(ulpdu, 62) == kAllOnes;
    const bool add = operation == kAtomicFetchAdd && mask == 0;
    if (!swap && !add)
        return fail(0, 2, 0xFF);
    segment_.atomic = {loadBe32(ulpdu, 22), swap,
                       loadBe32(ulpdu, 26), loadBe64(ulpdu, 30),
                       loadBe64(ulpdu, 38), swap ? loadBe64(ulpdu, 54) : 0};
    return Result::Segment;
}

// Announced headers that are not all there are treated as absent (4.8).
void FpduDecoder::parseTerminate(ConstBytes body) {
    TerminateInfo& info = segment_.terminate;
    const TerminateCode code{static_cast<uint8_t>(load8(body, 0) >> 4), static_cast<uint8_t>(load8(body, 0) & 0xF),
                             load8(body, 1)};
    info.code = code;
    info.syndrome = culpritSyndrome(code);
    if ((loadBe16(body, 2) & kDdpFollows) == 0 || body.size() < 6 + kTaggedBytes)
        return;
    const ConstBytes ddp = body.subspan(6);
    const auto op = static_cast<SegmentOp>(load8(ddp, 1) & 0xF);
    if ((load8(ddp, 0) & kTagged) != 0) {
        if (op != SegmentOp::Write)
            return;
        info.culprit = TerminateInfo::Culprit::Write;
        info.to = loadBe64(ddp, 6);
        return;
    }
    if (ddp.size() < kUntaggedBytes)
        return;
    const uint32_t queue = loadBe32(ddp, 6);
    info.message = loadBe32(ddp, 10);
    if (queue == 0)
        info.culprit = TerminateInfo::Culprit::Send;
    else if (queue == 1)
        info.culprit = TerminateInfo::Culprit::Request;
}

} // namespace erdma
