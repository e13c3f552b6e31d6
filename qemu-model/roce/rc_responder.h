// SPDX-License-Identifier: GPL-2.0-or-later
// The half of a reliable connection that answers: the order of the peer's requests, their execution, duplicates,
// acknowledgements (roce.md chapter 4).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fifo.h"
#include "rc_end.h"
#include "transport.h"

namespace erdma {

class RcResponder {
public:
    explicit RcResponder(RcEnd& end)
        : end_(end), expected_(end.setup.receivePsn & 0xFFFFFF), executed_(expected_), current_(expected_) {}
    ~RcResponder();
    RcResponder(const RcResponder&) = delete;
    RcResponder& operator=(const RcResponder&) = delete;

    uint32_t expectedPsn() const { return expected_; }
    uint64_t outOfOrder() const { return outOfOrder_; } // gaps that the peer was told of
    std::string describe() const;

    // May end the queue pair.
    void receive(const RocePacket& request);
    // Sends what is owed, as far as it may be sent now.
    void settle();
    bool wantsTurn() const { return goOn_; }
    void takeTurn();    // may end the queue pair
    void offerAgain() { // what the queue pair did not take
        goOn_ = goOn_ || blocked_;
        blocked_ = false;
    }
    // Some packets of an answer have left, others have not.
    bool midAnswer() const { return answer_ && answer_->sent != 0; }

    // A segment of an answer.
    Placement deliver(const Segment& segment);
    // The queue pair ended; what about is told to the peer if that is owed an answer.
    void refuse(const TerminateInfo& why);

private:
    enum class Message : uint8_t { None, Send, Write };
    struct Waiting {
        KeptPacket kept;
        bool tooMany = false; // requests at once
    };
    // A Read or atomic that is being answered.
    struct Answer {
        RocePacket request;
        uint64_t packets = 1;
        uint64_t sent = 0;
        bool repeated = false;
        uint32_t after() const { return psnPlus(request.psn, packets); }
    };
    struct Executed { // an atomic
        uint32_t psn;
        RoceOp op;
        uint64_t address;
        uint64_t original;
    };
    enum class Verdict : uint8_t { Done, Held, NotReady, Gone };

    bool idle() const { return !answer_ && !blocked_ && waiting_.empty() && repeats_.empty(); }
    void beyond();
    bool duplicate(const RocePacket& request);
    bool repeatRead(const RocePacket& request);
    void repeatAtomic(const RocePacket& request);
    void later(const RocePacket& request);
    bool startRepeat(const RocePacket& request);
    void answerAtomic(const RocePacket& request, uint64_t original);
    bool enqueue(const RocePacket& request, bool tooMany);
    void dropWaiting();
    void goOn(); // may end the queue pair

    Verdict execute(const RocePacket& request, bool tooMany);
    std::optional<Refusal> objection(const RocePacket& request, bool tooMany) const;
    std::optional<Refusal> lengthObjection(const RocePacket& request) const;
    Segment segmentOf(const RocePacket& request) const;
    Verdict hand(const Segment& segment);
    void done(const RocePacket& request);
    Verdict refuseRequest(Refusal why);
    void notReady(const RocePacket& request);
    const Executed* executedAtomic(const RocePacket& request) const;
    void settleBefore(uint32_t psn);
    void answered();
    void acknowledge(uint32_t psn, uint8_t syndrome);

    RcEnd& end_;
    uint64_t outOfOrder_ = 0;
    uint32_t expected_; // PSN of the next request to arrive
    uint32_t executed_; // of the next one to be executed; before expected_ while requests wait
    uint32_t current_;  // of the request that is at work, for refusals
    uint32_t msn_ = 0;
    bool gap_ = false;                // told, or about to be told
    bool gapOwed_ = false;            // about to be told
    std::optional<uint32_t> ackOwed_; // up to this PSN

    Message message_ = Message::None;
    uint32_t packetOctets_ = 0; // of its first packet
    uint64_t address_ = 0;      // of a Write
    uint32_t rkey_ = 0;
    uint32_t length_ = 0;
    uint64_t placed_ = 0;               // octets of the message
    uint32_t sends_ = 1, requests_ = 1; // numbers of the next ones, as the queue pair counts

    Fifo<Waiting> waiting_; // requests in sequence
    size_t waitingOctets_ = 0;
    uint32_t waitingAnswers_ = 0;     // Reads and atomics among them
    std::vector<RocePacket> repeats_; // duplicate Reads and atomics that wait, by PSN
    std::optional<Answer> answer_;
    bool cutShort_ = false; // the newest train ended without its last packet
    bool blocked_ = false;  // the queue pair takes nothing until offerAgain()
    bool goOn_ = false;

    std::vector<Executed> atomics_; // the newest, a ring of setup.ird at most
    size_t oldestAtomic_ = 0;
};

} // namespace erdma
