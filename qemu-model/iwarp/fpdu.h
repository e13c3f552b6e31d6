// SPDX-License-Identifier: GPL-2.0-or-later
// RDMAP segments as octets of a TCP stream: MPA framing, DDP and RDMAP headers (wire.md chapters 3 and 4).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "host.h"
#include "segment.h"
#include "terminate.h"

namespace erdma {

// Agreed by the MPA frames (wire.md 2.7).
struct FpduFormat {
    enum class Dialect : uint8_t { Vendor, Standard }; // V: revision 129; S: revisions 1 and 2
    Dialect dialect = Dialect::Vendor;
    bool crc = false;     // otherwise the CRC field is 0 and not checked
    bool rfc7306 = false; // Immediate Data and atomics on dialect S; dialect V always has them

    bool extended() const { return dialect == Dialect::Vendor || rfc7306; }
};

// The message without octets by which an initiator says that it is ready (1.9).
enum class Rtr : uint8_t { Write, Read, Send };

// Whether the opcode may appear on a connection of this format.
bool opcodeAllowed(const FpduFormat& format, SegmentOp op);

// Headers of a segment that was refused, as a Terminate quotes them (4.8).
struct QuotedHeaders {
    uint16_t segmentBytes = 0; // ULPDU_Length
    uint8_t ddpBytes = 0;      // 14 tagged, 18 untagged, 0: nothing to quote
    bool readRequest = false;  // `read` is valid
    std::array<std::byte, 18> ddp{};
    std::array<std::byte, 28> read{};
};

// What is known without the segment itself.
QuotedHeaders quoteFrom(const TerminateInfo& info);

// Appends one FPDU.  `quoted` is used by a Terminate whose code asks for headers; without it they are made up from
// what Segment::terminate says.  The payload must fit ULPDU_Length (at most 65517 octets for any opcode).
void encodeFpdu(const Segment& segment, const FpduFormat& format, std::vector<std::byte>& out,
                const QuotedHeaders* quoted = nullptr);

// Largest payload of a segment whose FPDU fits `emss` octets of TCP payload (3.4); below 128 it is treated as 128.
size_t fpduPayload(size_t emss, bool tagged);

// The longest FPDU there is: ULPDU_Length 65535, pad and CRC.
inline constexpr size_t kMaxFpduBytes = 65544;

// Turns octets, however they are cut, into segments.  Everything that a receiver can check without knowledge of queues
// and regions is checked here: rows 1 to 6 and 18 of 5.6, except alignment of atomics; MSNs and MOs of messages of
// several segments are the queue pair's business.
class FpduDecoder {
public:
    explicit FpduDecoder(const FpduFormat& format) : format_(format) {}

    enum class Result : uint8_t {
        NeedMore, // all input was taken
        Segment,  // segment() is complete
        Failed,   // failure() says why; final
    };
    // Takes octets from the front of `input`, at most up to the end of an FPDU.
    Result take(ConstBytes& input);

    // Valid until the next take(), and no longer than the octets given to the last one unless keep() was called.
    const Segment& segment() const { return segment_; }
    void keep();

    TerminateCode failure() const { return failure_; }
    // Of segment(), or of the FPDU that failed.
    const QuotedHeaders& quoted() const { return quoted_; }
    bool insideFpdu() const { return !buffer_.empty() && !complete_; }
    const FpduFormat& format() const { return format_; }

private:
    Result parse(ConstBytes fpdu, size_t ulpdu);
    Result fail(uint8_t layer, uint8_t type, uint8_t code);
    Result parseTagged(ConstBytes ulpdu);
    Result parseUntagged(ConstBytes ulpdu);
    Result parseAtomic(ConstBytes ulpdu);
    void parseTerminate(ConstBytes body);
    void quote(ConstBytes ulpdu, bool tagged);

    FpduFormat format_;
    std::vector<std::byte> buffer_; // an FPDU of which only a part has arrived, or that was kept
    bool complete_ = false;         // buffer_ holds all of the FPDU that segment_ describes
    bool failed_ = false;
    Segment segment_;
    ConstBytes current_{}; // the FPDU of segment_
    TerminateCode failure_{};
    QuotedHeaders quoted_;
};

} // namespace erdma
