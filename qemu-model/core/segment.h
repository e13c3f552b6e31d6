// SPDX-License-Identifier: GPL-2.0-or-later
// RDMAP/DDP segments as values: what one queue pair says to another, whatever carries it (wire.md chapters 3 to 5).
#pragma once

#include <cstdint>

#include "host.h"
#include "hw.h"

namespace erdma {

enum class RdmapOp : uint8_t {
    Write = 0x0,
    ReadRequest = 0x1,
    ReadResponse = 0x2,
    Send = 0x3,
    SendInv = 0x4,
    SendSe = 0x5,
    SendSeInv = 0x6,
    Terminate = 0x7,
    Immediate = 0x8,
    ImmediateSe = 0x9,
    AtomicRequest = 0xA,
    AtomicResponse = 0xB,
    SendImm = 0xC,
    SendImmSe = 0xD,
};

// 4.5, behind the untagged DDP header.
struct ReadRequest {
    uint32_t sinkStag;
    uint64_t sinkTo;
    uint32_t size;
    uint32_t sourceStag;
    uint64_t sourceTo;
};

// 4.7; masks are those of the plain operations.
struct AtomicRequest {
    uint32_t id;
    bool compareSwap; // otherwise fetch-and-add
    uint32_t stag;
    uint64_t to;
    uint64_t operand; // addend or swap value
    uint64_t compare;
};

struct AtomicResponse {
    uint32_t id;
    uint64_t original;
};

// Terminate layer/type/code of 4.8, and the AEQE detail of 5.6 (layer << 12 | type << 8 | code).
struct TerminateCode {
    uint8_t layer = 0;
    uint8_t type = 0;
    uint8_t code = 0;
    uint32_t detail() const { return uint32_t{layer} << 12 | uint32_t{type} << 8 | code; }
};

// What a Terminate says: why, and which message of the receiver of the Terminate caused it (5.7).
struct TerminateInfo {
    enum class Culprit : uint8_t {
        Unknown, // no header copied: the oldest incomplete work request
        Tagged,  // the Write that covers `to`
        Send,    // QN 0 message `msn`
        Request, // QN 1 message `msn`
    };
    TerminateCode code{};
    Culprit culprit = Culprit::Unknown;
    uint32_t msn = 0;
    uint64_t to = 0;
    // For the culprit's completion.  A transport that carries only the code uses culpritSyndrome().
    Syndrome syndrome = Syndrome::General;
};

// 5.7: completion status of a work request that the peer answered with this Terminate.
Syndrome culpritSyndrome(TerminateCode code);

// One DDP segment.  Fields that the opcode does not use are 0.
struct Segment {
    RdmapOp op = RdmapOp::Write;
    bool last = true;
    uint32_t stag = 0;        // tagged: sink.  Send with invalidate: STag to invalidate
    uint64_t to = 0;          // tagged
    uint32_t msn = 0;         // untagged
    uint32_t mo = 0;          // untagged: payload bytes of the message already sent
    uint32_t immediate = 0;   // Immediate, SendImm: numeric value
    uint32_t writeLength = 0; // Immediate: length of the Write it belongs to
    ReadRequest read{};
    AtomicRequest atomic{};
    AtomicResponse atomicResponse{};
    TerminateInfo terminate{};
    ConstBytes payload{};
};

} // namespace erdma
