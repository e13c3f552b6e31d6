// SPDX-License-Identifier: GPL-2.0-or-later
// Segments as values: what one queue pair says to another, whatever carries it (wire.md chapters 4 and 5).
#pragma once

#include <cstdint>

#include "host.h"
#include "hw.h"

namespace erdma {

enum class SegmentOp : uint8_t {
    Write,
    ReadRequest,
    ReadResponse,
    Send,
    SendInv,
    SendSe,
    SendSeInv,
    Terminate,
    Immediate,
    ImmediateSe,
    AtomicRequest,
    AtomicResponse,
    SendImm,
    SendImmSe,
};

struct ReadRequest {
    uint32_t sinkStag;
    uint64_t sinkTo;
    uint32_t size;
    uint32_t sourceStag;
    uint64_t sourceTo;
};

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

// Why a receiver refuses a segment.
enum class Refusal : uint8_t {
    Local, // trouble at this end; also: no reason is told
    TargetStag,
    TargetBounds,
    TargetPd,
    TargetWrap, // of a Write or of a response
    SourceStag,
    SourceBounds,
    SourcePd,
    SourceWrap, // of a read or atomic request
    Rights,     // of either
    Invalidate, // a STag that cannot be invalidated
    Unexpected, // not now, or not at all
    Misaligned, // atomic request
    NoBuffer,   // to receive, or for one more request
    Sequence,   // message number
    Offset,     // within a message
    TooLong,
    Gone, // there is no connection any more
};

// A reason as the connection's protocol numbers it, and as an AEQE shows it (detail).  Only the transport knows more.
struct RefusalCode {
    uint16_t number = 0;
    bool operator==(const RefusalCode&) const = default;
};

// What a Terminate says: why, and which message of the receiver of the Terminate caused it (5.7).
struct TerminateInfo {
    enum class Culprit : uint8_t {
        Unknown, // no header copied: the oldest incomplete work request
        Write,   // the one that covers `to`
        Send,    // number `message`
        Request, // number `message`
    };
    RefusalCode code{};
    Culprit culprit = Culprit::Unknown;
    uint32_t message = 0;
    uint64_t to = 0;
    // For the culprit's completion.  A transport that carries only the code concludes it from there.
    Syndrome syndrome = Syndrome::General;
};

// Sends (with Immediate), requests (reads and atomics) and atomic responses are numbered, each kind for itself, from 1.
// Immediate may carry the end of its Write (Ways::immediateOnWrite).
// Writes and read responses name where each of their segments goes.  Fields that the opcode does not use are 0.
struct Segment {
    SegmentOp op = SegmentOp::Write;
    bool last = true;
    uint32_t stag = 0;        // Write, ReadResponse: sink.  Send with invalidate: STag to invalidate
    uint64_t to = 0;          // Write, ReadResponse
    uint32_t total = 0;       // Write: octets of the message; 0 from protocols that do not tell beforehand
    uint32_t message = 0;     // number of a numbered message
    uint32_t offset = 0;      // of a Send: payload bytes already sent
    uint32_t immediate = 0;   // Immediate, SendImm: numeric value
    uint32_t writeLength = 0; // Immediate: length of the Write it belongs to
    ReadRequest read{};
    AtomicRequest atomic{};
    AtomicResponse atomicResponse{};
    TerminateInfo terminate{};
    ConstBytes payload{};
    ConstBytes address{}; // of a message of its own (QpConfig::datagram): where it goes, in the words of the protocol
};

} // namespace erdma
