// SPDX-License-Identifier: GPL-2.0-or-later
// The receive queue of a queue pair and the requests of its peer: placement, reads, atomics
// (adapter.md 7.3; wire.md 4.3 to 4.7, 5.1, 5.5, 5.6).
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "fifo.h"
#include "hw.h"
#include "memory_region.h"
#include "segment.h"
#include "requester.h"

namespace erdma {

class QueuePair;

// Why a connection ends because of something inbound: one row of wire.md 5.6.
struct Failure {
    Refusal reason = Refusal::Local;
    RefusalCode code{};
    Syndrome requester = Syndrome::General; // for the peer's work request
    Syndrome rqe = Syndrome::General;       // for the RQE in use, if any
    AsyncEvent event = AsyncEvent::QpFatal;
    std::optional<Blame> own{}; // own work request, when a response failed
    const char* why = "";
};

// What became of an inbound segment.
struct Reception {
    enum class Kind : uint8_t { Accepted, Hold, NotReady, Failed };
    Kind kind = Kind::Accepted;
    Failure failure{};
};

// A message that is nobody's but its own, to a queue pair without connection.
struct Datagram {
    ConstBytes octets; // for the buffer
    std::optional<uint32_t> immediate;
    bool solicited = false;
    std::array<uint32_t, 3> tail{}; // Completion
};
// Only what is Received takes a receive buffer; Broken ends the queue pair.
enum class DatagramFate : uint8_t { Received, NoBuffer, TooLong, Broken };

class Responder {
public:
    // `start`: index of the first RQE.
    explicit Responder(QueuePair& qp, uint16_t start = 0) : qp_(qp), pi_(start), ci_(start) {}

    // False: PI is further ahead than the ring is deep; nothing was recorded.
    bool doorbell(uint16_t pi);

    // Any segment except responses and Terminate.
    Reception place(const Segment& segment);
    // QueuePair::inbound().
    DatagramFate place(const Datagram& datagram);
    // Remembers a failure that is announced when everything owed to the peer is sent.
    void refuseLater(const Failure& failure, const TerminateInfo& terminate);
    bool refusing() const { return refusal_.has_value(); }

    // Sends one segment of a response.  False: nothing to do, or the transport holds.  May end the queue pair.
    bool step();
    bool ready() const { return !held_ && (!owed_.empty() || refusal_.has_value()); }
    bool idle() const { return owed_.empty(); }
    bool midMessage() const { return !owed_.empty() && sent_ != 0; }
    void resume() { held_ = false; }
    // The transport will ask anew for what is owed, or answers by itself.
    void withdraw() {
        owed_.clear();
        sent_ = 0;
    }

    // Waiting for a receive buffer until this time; 0: not waiting, ~0: for ever.
    uint64_t holdDeadline() const { return holdDeadline_; }
    void holdExpired();
    bool starving() const { return starvedSince_.has_value(); }
    // For how long messages of the peer waited here for a receive buffer, until now.
    uint64_t starvedNs(uint64_t nowNs) const { return starvedNs_ + (starvedSince_ ? nowNs - *starvedSince_ : 0); }

    // The queue pair has ended: nothing is owed any more.  The RQE in use is reported with this syndrome.
    void end(Syndrome halfReceived) {
        discard();
        halfReceived_ = halfReceived;
    }
    // Completes the RQE in use, and those posted before `end` with Flushed.  False: call again, the budget is spent.
    [[nodiscard]] bool flush(uint16_t end);
    // Forgets what is owed and stops waiting, without touching guest memory.
    void discard();

    uint16_t producer() const { return pi_; }
    uint16_t consumer() const { return ci_; }
    uint32_t queued() const { return static_cast<uint32_t>(owed_.size()); }
    uint32_t completions() const { return completions_; }
    uint32_t packets() const { return packets_; }
    uint64_t bytes() const { return bytes_; }

private:
    struct Owed { // a response
        bool atomic = false;
        uint32_t message = 0; // number of the request
        ReadRequest read{};
        AtomicResponse answer{};
    };
    struct Refused {
        Failure failure;
        TerminateInfo terminate;
    };

    uint32_t depth() const;
    Reception remoteFault(MrFault fault, bool write) const;
    Reception placeWrite(const Segment& segment);
    MrFault checkTarget(const Segment& segment, uint64_t length) const;
    Reception placeSend(const Segment& segment);
    Reception placeImmediate(const Segment& segment);
    MrFault checkSource(const ReadRequest& read) const;
    Reception queueRead(const Segment& segment);
    Reception executeAtomic(const Segment& segment);
    struct Rqe {
        uint64_t addr;
        uint32_t length;
        uint32_t stag;
        bool wellFormed;
    };
    std::optional<Rqe> readRqe(uint16_t index) const;
    std::optional<Reception> takeRqe(uint32_t message);
    void fed();
    Reception finishSend(const Segment& segment);
    void report(Op op, uint32_t word12, uint32_t bytes, bool solicited, const std::array<uint32_t, 3>& tail = {});
    bool sendAtomicResponse(const Owed& owed);
    bool sendReadResponse(const Owed& owed);
    bool accepted(const Segment& segment);
    void refuse(const Owed& owed, MrFault fault);

    QueuePair& qp_;
    uint16_t pi_;
    uint16_t ci_; // first RQE not taken

    // The RQE in use.  A message keeps it from its first segment to its last.
    bool rqeInUse_ = false;
    bool inSend_ = false;
    Syndrome halfReceived_ = Syndrome::Flushed;
    uint16_t rqeIndex_ = 0;
    uint64_t rqeAddr_ = 0;
    uint32_t rqeLength_ = 0;
    uint32_t rqeStag_ = 0;
    SegmentOp sendOp_ = SegmentOp::Send;
    uint32_t received_ = 0;
    uint32_t expectedSend_ = 1;    // number of the next Send
    uint32_t expectedRequest_ = 1; // of the next request

    bool inWrite_ = false; // an unfinished Write
    uint32_t writeStag_ = 0;
    uint64_t writeNext_ = 0;

    uint64_t holdDeadline_ = 0;
    uint64_t starvedNs_ = 0;
    std::optional<uint64_t> starvedSince_; // a message waits, or is to be sent again
    Fifo<Owed> owed_;                      // at most Transport::ird()
    uint64_t sent_ = 0;                    // payload of the front response
    bool held_ = false;
    uint32_t nextAtomicResponse_ = 1;
    std::optional<Refused> refusal_;

    uint32_t completions_ = 0;
    uint32_t packets_ = 0;
    uint64_t bytes_ = 0;
};

// Remote protection fault as the peer's work request shows it (7.5).
Syndrome remoteSyndrome(MrFault fault);

} // namespace erdma
