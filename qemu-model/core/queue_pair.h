// SPDX-License-Identifier: GPL-2.0-or-later
// Queue pairs: states, doorbells, flush, and what joins them to the transport
// (adapter.md chapters 7 and 9, wire.md chapters 4, 5 and 7).
// The send queue is in requester.h, the receive queue and the requests of the peer in responder.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "doorbell.h"
#include "hw.h"
#include "memory_region.h"
#include "page_table.h"
#include "segment.h"
#include "requester.h"
#include "responder.h"
#include "scheduler.h"
#include "transport.h"

namespace erdma {

struct Adapter;

// CREATE_QP after decoding and checking of the tables (4.7).
struct QpConfig {
    uint32_t qpn = 0;
    uint32_t pd = 0;
    uint32_t sqDepthLog = 0; // WQEBBs
    uint32_t rqDepthLog = 0; // RQEs
    uint32_t sendCqn = 0;
    uint32_t recvCqn = 0;
    bool ofKernel = false; // and not of a process, as its rings say
    // Without connection: each message names where it goes, and a failed one stops the send queue only.
    bool datagram = false;
    RingView sq;
    RingView rq;
};

// MODIFY_QP after decoding (4.9).
struct QpModify {
    uint32_t qpn = 0;
    QpState state = QpState::Error;
    Handover handover{}; // meaningful when state is Rts
};

class QueuePair {
public:
    QueuePair(Adapter& adapter, QpConfig config);
    ~QueuePair(); // implies ERROR without completions: no CQE after DESTROY_QP (4.8)
    QueuePair(const QueuePair&) = delete;
    QueuePair& operator=(const QueuePair&) = delete;

    uint32_t qpn() const { return config_.qpn; }
    const QpConfig& config() const { return config_; }
    // On whose behalf it touches local memory.
    Side owner() const { return config_.ofKernel ? Side::Kernel : Side::User; }
    QpState state() const { return state_; }
    Adapter& adapter() { return adapter_; }
    Scheduler::Turn& turn() { return turn_; }
    const Handover& handover() const { return handover_; }

    // MODIFY_QP.  Repeated stops succeed (9.2, wire.md 7.1).  While busy() what the command started goes on.
    // Invalid: a transition that does not exist, or a tuple that cannot be connected.
    Status modify(const QpModify& request);
    // REFLUSH (4.10).  Invalid on a queue pair that is not stopped; indices already flushed are fine.
    Status reflush(uint16_t sqPi, uint16_t rqPi);

    // ---- for protocols whose commands bring it up step by step ----
    // Idle -> active, with the send queue paused.
    void open(std::unique_ptr<Transport> transport);
    // Paused: no work request starts, what has left in part goes on.  Not paused, of sendsFailed(): what was posted until
    // now is flushed (busy() meanwhile), what comes behind starts.
    void pauseSending(bool paused);
    // What started before the pause is not complete.
    bool draining() const { return requester_.unfinished(); }
    // As after CREATE_QP, and without completions for what was queued.  `fromZero`: the rings begin anew; otherwise behind
    // what was rung.
    void restart(bool fromZero);
    // A work request of a datagram queue pair failed: all others are flushed, later ones too.
    bool sendsFailed() const { return sendsFailed_; }
    void reflushSends(uint16_t sqPi);
    DatagramFate inbound(const Datagram& datagram);
    // It delivers or flushes what a command ended; the command is complete when that is done.  What is rung later is
    // flushed behind it and keeps nobody waiting.
    bool busy() const { return owed_.has_value() || drain_.has_value() || resumeBehind_.has_value(); }

    // Doorbells record and put the QP on the run queue; stopped queue pairs flush at once (9.5).
    void sqDoorbell(uint16_t pi, const DirectWqe* direct);
    void rqDoorbell(uint16_t pi);

    // Does at most `budget` units of work (a unit: one WQE, or one segment).  True: more is left.
    bool run(unsigned budget);
    // Early calls are fine: asks the device again for what is not due yet.
    void onTimer(uint64_t nowNs);

    // ---- for the transport and the fabric ----
    void attach(std::unique_ptr<Transport> transport); // WAIT_PAIR -> active
    Placement inbound(const Segment& segment);         // from the peer, in order
    void resume();                                     // the peer can take segments again
    void acknowledged();                               // Transport::acknowledged() grew
    unsigned serve(unsigned budget);                   // answers the peer's requests only; returns units done
    void withdrawAnswers() { responder_.withdraw(); }  // the peer asked anew for what is owed to it
    void peerClosed(bool graceful);                    // flush; AEQE only if work was incomplete
    void fail(Syndrome oldest, std::optional<AsyncEvent> event, uint32_t detail, const char* why);

    // ---- for Requester and Responder ----
    // In RTS with a peer.
    bool active() const { return transport_ != nullptr; }
    bool stopped() const { return state_ >= QpState::Closing; }
    // CLOSING while what was sent is not acknowledged (wire.md 7.2).
    bool windingUp() const { return transport_ != nullptr && state_ == QpState::Closing; }
    // WAIT_PAIR of wire.md 1.10.
    bool waiting() const;
    Transport& transport() { return *transport_; }
    // Requests that may be outstanding: as agreed with the peer, and not more than the device is set to.
    uint32_t ord() const;
    PathFacts path() const { return transport_ ? transport_->path() : PathFacts{}; }
    // To be called when it may have changed what holds the sends: by the transport when a call from outside is over.
    void noteLimit();
    const LimitClock& limits() const { return limits_; }
    FlowFacts flow() const { return transport_ ? transport_->flow() : FlowFacts{}; }
    // A message of the peer waits for a receive buffer.
    bool starving() const { return responder_.starving(); }
    uint64_t starvedNs(uint64_t nowNs) const { return responder_.starvedNs(nowNs); }
    uint32_t ird() const;
    // The send queue met an error of its own; `culprit` may be absent (ring unreadable).  Tells the peer.  `detail` is
    // for the AEQE.
    void requesterFailed(std::optional<Blame> culprit, const char* why, uint32_t detail = 0);
    // Refuses an inbound segment, with defaults for whatever the caller knows better.
    Reception refuse(Refusal reason, const char* why) const;
    // The peer refused a segment.
    void peerRefused(std::optional<Blame> culprit, RefusalCode code);
    // Something inbound was wrong, and what the peer must be told about it.
    void inboundFailed(const Failure& failure, const TerminateInfo& terminate);

    // Values for QUERY_QPC (4.16) and the tests.
    struct Snapshot {
        uint16_t sqPi, sqCi, rqPi, rqCi;
        uint32_t sendCqes, recvCqes, packetsOut, packetsIn, dropsError, timeouts;
        bool flushing;
        uint32_t outstandingReads, queuedRequests;
    };
    Snapshot snapshot() const;

private:
    enum class Goodbye : uint8_t { Graceful, Abort, Terminate };
    struct Ending { // in the order of effects of wire.md 7.1
        QpState state = QpState::Error;
        std::optional<Blame> culprit;              // work request that is reported with a syndrome of its own
        Syndrome halfReceived = Syndrome::Flushed; // for the RQE of an unfinished message
        std::optional<AsyncEvent> event;
        uint32_t detail = 0;
        Goodbye goodbye = Goodbye::Abort;
        std::optional<TerminateInfo> terminate{}; // what the peer is told; nothing: Refusal::Local
        const char* why = "";
    };
    Status connect(const QpModify& request);
    Status reachPeer();
    Status stop(QpState target);
    Limit limit() const;
    bool drain();
    void goOnDraining();
    void windUp();
    void finishWindUp();
    void abandonAnswers();
    Placement inboundWhileWindingUp(const Segment& segment);
    unsigned work(unsigned budget);
    void takeUp();
    void end(const Ending& ending);
    void flush();
    void flushAll();
    void failSends(const Blame& culprit, const char* why);
    void flushSends();
    void setState(QpState state, const char* why);
    void peerTerminated(const TerminateInfo& info);

    Adapter& adapter_;
    Scheduler::Turn turn_;
    QpConfig config_;
    QpState state_ = QpState::Idle;
    Handover handover_{};
    std::unique_ptr<Transport> transport_;
    Requester requester_;
    Responder responder_;
    LimitClock limits_;                        // of the present transport, or the last one
    bool responderTurn_ = false;               // who starts the next message when both could
    uint64_t pairDeadline_ = 0;                // waiting() only
    uint64_t abandonAt_ = 0, lingerUntil_ = 0; // windingUp() only
    uint32_t packetsIn_ = 0;
    uint32_t drops_ = 0;
    bool sendsFailed_ = false;
    bool flushingSends_ = false;           // sendsFailed(): something is left
    std::optional<uint16_t> resumeBehind_; // sendsFailed() ends there
    bool heldForBudget_ = false;           // a segment of the peer was not taken, or the observer holds it

    struct Drain {
        uint64_t start; // octets moved before
        unsigned left;  // units
    };
    std::optional<Drain> drain_;
    struct Event {
        AsyncEvent type;
        uint32_t detail;
    };
    std::optional<Event> lastWord_; // behind the flush
    struct Producers {
        uint16_t sq, rq;
    };
    Producers producers() const { return {requester_.producer(), responder_.producer()}; }
    std::optional<Producers> owed_; // what was posted when the queue pair ended, or a command asked for a flush
    bool flushing_ = false;         // something is left
};

} // namespace erdma
