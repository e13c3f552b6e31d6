// SPDX-License-Identifier: GPL-2.0-or-later
// The send queue of a queue pair: fetching, checking and executing work requests, completing them in order
// (adapter.md 7.1, 7.2; wire.md 4.2 to 5.2, 5.7).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "doorbell.h"
#include "fifo.h"
#include "flow.h"
#include "hw.h"
#include "memory_region.h"
#include "segment.h"
#include "sqe.h"

namespace erdma {

class QueuePair;
struct Placement;
struct Reception;

// A work request, named by its first WQEBB, and what its completion says.
struct Blame {
    uint16_t index;
    Syndrome syndrome;
};

// WQEBBs read ahead, for the duration of one run: several small requests per guest memory access.
struct SqWindow {
    uint16_t first = 0;
    uint32_t count = 0;
    std::array<std::byte, size_t{16} * kWqebbBytes> bytes; // valid: `count` blocks
};

class Requester {
public:
    // `start`: index of the first work request.
    explicit Requester(QueuePair& qp, uint16_t start = 0) : qp_(qp), pi_(start), next_(start), retired_(start) {}

    // False: PI is further ahead than the ring is deep; nothing was recorded.
    bool doorbell(uint16_t pi, const DirectWqe* direct);

    // Starts the next work request or sends one segment of the current one.  False: nothing can be done now.
    // May end the queue pair.
    bool step(SqWindow& window);
    bool ready() const; // step() would do something
    // Between the segments of one message nothing else may be sent.
    bool midMessage() const { return busy_ && sent_ != 0 && !dataSent_; }
    // The current work request has left in part.
    bool begun() const { return busy_ && started_ && (sent_ != 0 || dataSent_); }
    // From now on only what has begun goes on, or again everything.
    void finishOnly(bool only = true) { closing_ = only; }
    bool unfinished() const { return begun() || !inFlight_.empty(); }
    // Requests without answer complete as flushed, in order.
    void abandonRequests();
    void resume() { held_ = false; }
    void retire(); // completes, in order, what is finished

    Reception onReadResponse(const Segment& segment);
    Reception onAtomicResponse(const Segment& segment);

    // The work request a Terminate means; nothing when it completed already.
    std::optional<uint16_t> culprit(const TerminateInfo& info) const;
    std::optional<uint16_t> oldest() const;
    bool incomplete() const { return retired_ != pi_; }
    // What holds it, when the transport does not say.
    Limit limit() const;
    // The queue pair has ended.  This work request is reported with a syndrome of its own.
    void blame(const std::optional<Blame>& culprit) { culprit_ = culprit; }
    // Completes everything up to `end`, a producer index, with Flushed, except the culprit.  False: call again, the budget
    // is spent.  Not `readable`: the ring could not be read; the rest is dropped.
    [[nodiscard]] bool flush(bool& readable, uint16_t end);

    uint16_t producer() const { return pi_; }
    uint16_t consumer() const { return retired_; }
    uint32_t outstanding() const { return outstanding_; }
    uint32_t completions() const { return completions_; }
    uint32_t packets() const { return packets_; }
    uint64_t bytes() const { return bytes_; }

private:
    struct InFlight {
        // Until acknowledged; for a response; finished; never answered.
        enum class Stage : uint8_t { Sent, Waiting, Done, Abandoned };
        uint16_t first = 0;
        uint16_t after = 0;
        Op op = Op::Send;
        Stage stage = Stage::Sent;
        bool signalled = false;
        uint64_t mark = 0; // Sent: Transport::sent() after the last segment
        uint32_t length = 0;
        uint32_t received = 0; // of a read
        uint32_t message = 0;  // number of the Send, or of the request
        uint32_t stag = 0;     // Waiting: sink
        uint64_t to = 0;       // Waiting: sink.  Write: target
        uint32_t invalidate = 0;
    };

    uint32_t depth() const;
    bool load(uint16_t index, SqWindow& window, std::byte* out) const;
    bool fetch(SqWindow& window);
    bool takeDirect(SqeHeader ring);
    bool heldBack() const; // by the observer
    bool mustWait() const;
    SegmentOp messageKind() const;
    bool begin();
    void executeLocal();
    bool sendRequest();
    bool sendData();
    bool sendImmediate();
    void describeImmediate(Segment& segment) const;
    enum class Sent : uint8_t { Yes, Later, Dead };
    Sent deliver(const Segment& segment);
    std::optional<MrFault> checkSges() const;
    MrFault gather(size_t length, ConstBytes& payload);
    void skipSges(size_t length);
    void finishCurrent();
    void pushCurrent(InFlight::Stage stage);
    void failCurrent(Syndrome syndrome, const char* why, uint32_t detail = 0);
    bool failNow();
    InFlight* oldestWaiting();
    void answered(InFlight& entry);
    void report(uint16_t index, Op op, Syndrome syndrome, uint32_t bytes);

    QueuePair& qp_;
    uint16_t pi_;      // last doorbell
    uint16_t next_;    // first WQEBB not fetched
    uint16_t retired_; // first WQEBB not completed

    // The work request being executed.
    bool busy_ = false;
    bool started_ = false;
    bool held_ = false; // the transport takes nothing until resume()
    bool closing_ = false;
    bool dataSent_ = false; // of a Write with immediate: only the Immediate Data is left
    uint32_t sent_ = 0;     // payload bytes accepted by the transport
    uint32_t sgeIndex_ = 0;
    uint32_t sgeOffset_ = 0;
    Sqe sqe_;

    struct Failing { // the current work request, when those before it are complete
        Syndrome syndrome;
        const char* why;
        uint32_t detail;
    };
    std::optional<Failing> failing_;

    Fifo<InFlight> inFlight_;    // bounded by the ring depth
    uint64_t oldestWaiting_ = 0; // no entry before this sequence number is in stage Waiting
    uint32_t outstanding_ = 0;
    std::optional<Blame> culprit_;
    uint32_t nextSend_ = 1;
    uint32_t nextRequest_ = 1;
    uint32_t nextAtomicResponse_ = 1;

    struct Direct {
        DirectWqe wqe;
        uint16_t first = 0;
        bool pending = false;
    };
    std::unique_ptr<Direct> direct_; // made by the first direct WQE of the queue pair

    uint32_t completions_ = 0;
    uint32_t packets_ = 0;
    uint64_t bytes_ = 0;
};

// Local protection fault as a syndrome of the send queue (7.5).
Syndrome localSyndrome(MrFault fault);

} // namespace erdma
