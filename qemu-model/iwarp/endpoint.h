// SPDX-License-Identifier: GPL-2.0-or-later
// The adapter's end of a handed-over connection: joins the TCP engine and the FPDU codec to a queue pair
// (wire.md 1.7, 1.9, 5.5, chapter 7).  Outlives its queue pair while the wire is wound up (7.9).
#pragma once

#include <cstdint>
#include <memory>

#include "fifo.h"
#include "fpdu.h"
#include "packet.h"
#include "queue_pair.h"
#include "tcp.h"

namespace erdma {

class Endpoint;

// What the kernel's socket must be told (1.8).
enum class KernelSignal : uint8_t {
    Fin, // the peer closed in order, or the connection ended with a Terminate
    Rst, // lost or aborted
};

class EndpointHost {
public:
    virtual ~EndpointHost() = default;
    virtual uint64_t nowNs() = 0;
    virtual uint16_t mtu() const = 0; // of the interface, as last set
    // Must not call back into the endpoint.
    virtual void sendFrame(const TcpFrame& frame) = 0;
    // Endpoint::wantsTurn() or deadline() may have changed.  Must not call back into the endpoint.
    virtual void rearm(Endpoint& endpoint) = 0;
    virtual void signalKernel(Endpoint& endpoint, KernelSignal signal) = 0;
};

// What MODIFY_QP(RTS) and the tracker know.
struct EndpointSetup {
    TcpHandover tcp;
    TcpSettings settings;
    FpduFormat format;
    LinkHeader link;
    IpHeader ip; // from this end to the peer
    bool initiator = false;
    Rtr rtr = Rtr::Write;                  // what the initiator begins with (1.9) ...
    bool rtrAgreed = false;                // ... and the peer waits for it, whatever else there is to send
    bool crcCapable = true;                // of what the reply of a passive end may ask for
    uint32_t kernelOctets = 0;             // passive: octets of the MPA reply, which the kernel has yet to hand over
    uint16_t ord = kMaxOrd, ird = kMaxIrd; // 2.7
    bool completeQueued = false;           // completion mode `queued` of 5.2
    uint64_t guard = 1000 * kMs;           // first FPDU of the initiator (1.9); 0: wait for ever
    uint64_t replyLimit = 10000 * kMs;
    uint64_t linger = 5000 * kMs; // 7.2, 7.4
    uint64_t terminateLinger = 2000 * kMs;
    uint64_t responses = 1000 * kMs; // 7.3: what is owed to a peer that closed
};

struct EndpointCounters {
    uint64_t fpdusOut = 0, fpdusIn = 0, crcErrors = 0, terminatesOut = 0, terminatesIn = 0, kernelMisplaced = 0;
};

class Endpoint final : public TcpUser, public TcpOutput, public std::enable_shared_from_this<Endpoint> {
public:
    // For a queue pair that reached RTS and waits for its transport; makes it active.
    static std::shared_ptr<Endpoint> open(QueuePair& qp, const EndpointSetup& setup, EndpointHost& host,
                                          MemoryBudget& budget);

    // ---- the filter ----
    bool input(const TcpSegment& segment); // as TcpConnection::input()
    void endOfBatch();
    // Who sent the newest valid frame; matters when nothing is acknowledged any more (6.3).
    void heardFrom(const Mac& source) { heardFrom_ = source; }
    void pathMtu(const PathMtuNotice& notice);
    // Payload that the kernel sent after handover, below the first FPDU octet.  Octets elsewhere are dropped.
    void kernelOctets(uint32_t seq, ConstBytes octets);
    // The kernel acknowledged something that it read before handover.
    void kernelAcknowledged(uint32_t ack);
    // The kernel closed (Fin) or reset (Rst) its socket and no command came with it (7.5).
    void kernelClosed(KernelSignal how);
    // takeTurn() does what must not be done from inside a call of the queue pair (transmitting, giving it segments), and
    // what is due.  It is wanted at once when wantsTurn(), otherwise at the deadline.
    bool wantsTurn() const {
        return flushPending_ || tcp_.wantsFlush() || (qp_ != nullptr && (startPending_ || resumePending_ || goOn_));
    }
    uint64_t deadline() const;
    // Bounded; returns the work done, in octets.
    size_t takeTurn();
    // Device reset, QEMU exit (7.10).
    void reset();
    // Nothing is left to do; the owner drops its reference.
    bool finishedForGood() const { return qp_ == nullptr && tcp_.state() == TcpState::Closed; }

    const TcpConnection& tcp() const { return tcp_; }
    const EndpointSetup& setup() const { return setup_; }
    QueuePair* queuePair() const { return qp_; }           // none any more when it ended
    bool replyPending() const { return kernelLeft_ != 0; } // the kernel has not sent all of the MPA reply
    const EndpointCounters& counters() const { return counters_; }
    bool gateOpen() const { return gateOpen_ && kernelLeft_ == 0; }

    // ---- TcpUser, TcpOutput ----
    size_t received(ConstBytes octets) override;
    void progressed() override;
    void finished() override;
    void lost(TcpEnd why) override;
    void transmit(const TcpSegment& segment) override;
    uint64_t nowNs() override { return host_.nowNs(); }

    // Public for make_shared only.
    Endpoint(QueuePair& qp, const EndpointSetup& setup, EndpointHost& host, MemoryBudget& budget);

private:
    class Wire; // the Transport that the queue pair owns
    class OnStack;

    Placement deliver(const Segment& segment);
    Placement deliverTerminate(const Segment& segment);
    void queuePairEnded(bool graceful);
    void send(const Segment& segment, const QuotedHeaders* quoted = nullptr);
    void openGate();
    void giveHeldSegment();
    bool giveSegment(); // decoder_.segment() to the queue pair; false: stop for now
    void remember(const Segment& segment);
    bool isRtr(const Segment& segment);
    void doPending();
    void fireTimers(uint64_t now);
    void decoderFailed();
    void tryFinish();
    void start();
    void nudge(uint64_t now);
    void signal(KernelSignal signal);
    void replyComplete();
    void followMtu();

    QueuePair* qp_;
    EndpointSetup setup_;
    EndpointHost& host_;
    TcpConnection tcp_;
    FpduDecoder decoder_;
    EndpointCounters counters_;
    uint16_t ipId_ = 0;
    std::optional<Mac> heardFrom_;
    unsigned depth_ = 0; // of OnStack
    uint16_t mtu_;       // that tcp_ knows of

    uint32_t kernelLeft_;
    uint64_t fpduStart_;           // stream position
    std::vector<std::byte> reply_; // what the kernel handed over of it
    bool gateOpen_;
    bool startPending_ = true;   // the initiator has not begun
    bool sendingHeld_ = false;   // the queue pair waits for resume()
    bool segmentHeld_ = false;   // the queue pair would not take decoder_.segment()
    bool resumePending_ = false; // and takes it now
    bool goOn_ = false;          // input, or responses, beyond what one turn may do
    size_t work_ = 0;            // since the endpoint was entered, in octets ...
    size_t inputWork_ = 0;       // ... and of it for the queue pair
    bool flushPending_ = false;  // FPDUs of one run share segments
    bool halfSent_ = false;      // the last own segment was not the last of its message
    bool halfWrite_ = false, halfRead_ = false, halfSend_ = false; // same of the peer
    bool fpduSeen_ = false;
    bool terminateSent_ = false, terminateSeen_ = false;
    bool peerFinished_ = false;
    bool truncated_ = false; // the peer's FIN came too early
    bool signalled_ = false;
    bool kernelFinished_ = false; // the kernel closed before it had sent the MPA reply

    uint64_t spokenAt_ = 0; // last segment of the queue pair, as long as nudges are due
    // What begins a connection in place of a Write counts in the sequence of its kind, and no queue pair knows of it: own
    // requests and Sends, and Sends of the peer.  The answer to an own Read Request ends here.
    uint32_t ownRequests_ = 0, ownSends_ = 0, peerSends_ = 0;
    bool rtrReadAnswered_ = false;
    unsigned nudges_ = 0;
    uint64_t started_ = 0;
    uint64_t guardAt_ = kNever, replyAt_ = kNever, lingerAt_ = kNever, responsesAt_ = kNever, nudgeAt_ = kNever;

    struct OwedRead {
        uint32_t msn = 0;
        QuotedHeaders headers;
    };
    Fifo<OwedRead> reads_; // Read Requests of the peer, newest last, for Terminates about them
};

} // namespace erdma
