// SPDX-License-Identifier: GPL-2.0-or-later
// TCP from the moment a connection is handed over (wire.md chapter 6): no listening, no SYN.
// Receiving is in tcp_receive.cpp, sending and loss recovery in tcp_send.cpp, the rest in tcp.cpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "congestion.h"
#include "flow.h"
#include "memory_budget.h"
#include "octet_queue.h"
#include "packet.h"
#include "range_set.h"

namespace erdma {

inline constexpr uint64_t kMs = 1000000; // in nanoseconds
inline constexpr uint64_t kNever = ~uint64_t{0};

// Appendix A.
struct TcpSettings {
    uint64_t initialRto = 1000 * kMs, minRto = 200 * kMs, maxRto = 60000 * kMs;
    uint64_t giveUp = 30000 * kMs;
    unsigned giveUpCount = 24; // retransmissions of the same octets
    uint64_t delayedAck = 40 * kMs;
    unsigned delayedAckSegments = 2;
    uint64_t keepIdle = 60000 * kMs, keepInterval = 10000 * kMs;
    unsigned keepProbes = 6;
    uint64_t timeWait = 4000 * kMs, finWait2 = 10000 * kMs;
    size_t receiveBuffer = 1u << 20;
    size_t sendBuffer = 1u << 20;
};

// The connection as the kernel leaves it (1.5, 1.7).
struct TcpHandover {
    uint32_t sndUna = 0; // highest ack seen from the peer
    uint32_t sndNxt = 0; // highest sequence end sent by the kernel
    uint32_t rcvNxt = 0;
    uint32_t rcvAdv = 0;             // right edge of the last advertised window
    uint32_t sndWnd = 0;             // scaled
    uint32_t sndWl1 = 0, sndWl2 = 0; // sequence number and ack of the segment that carried it
    uint16_t peerMss = 536;
    uint16_t mtu = 1500;
    uint8_t ipBytes = 20;      // of the IP header, which the MTU includes
    uint32_t largeSegment = 0; // both ends and the path take segments of this size (MTU and MSS do not matter); 0: no
    uint8_t peerScale = 0, ownScale = 0;
    bool sack = false;
    bool timestamps = false;
    uint32_t tsRecent = 0;  // newest TSval of the peer
    uint32_t tsValue = 0;   // last TSval of the kernel ...
    uint64_t tsValueAt = 0; // ... and when it was seen
    bool ecn = false;
    std::optional<uint64_t> rtt; // of the handshake
    CongestionControl congestion = CongestionControl::Cubic;
};

enum class TcpState : uint8_t {
    Closed,
    Established,
    FinWait1,
    FinWait2,
    Closing,
    CloseWait,
    LastAck,
    TimeWait,
};

enum class TcpEnd : uint8_t {
    Reset,    // RST of the peer
    TimedOut, // retransmissions, zero-window probes or keepalives were not answered
};

// What a connection counts.
struct TcpCounters {
    uint64_t segmentsOut = 0, segmentsIn = 0, retransmissions = 0, timeouts = 0, fastRecoveries = 0;
    uint64_t duplicates = 0, outOfOrder = 0, outOfOrderDropped = 0, memoryDropped = 0, unacceptable = 0, challenges = 0,
             probes = 0;
};

// The owner of the connection.  Any of the calls may call back into the connection, but must not destroy it.
class TcpUser {
public:
    virtual ~TcpUser() = default;
    // The next octets of the stream.  Returns how many were taken; the rest waits for resumeReceiving().
    virtual size_t received(ConstBytes octets) = 0;
    // acknowledged() grew.
    virtual void progressed() = 0;
    // The peer's FIN; everything before it was taken.
    virtual void finished() = 0;
    // The connection is gone.
    virtual void lost(TcpEnd why) = 0;
};

class TcpOutput {
public:
    virtual ~TcpOutput() = default;
    virtual void transmit(const TcpSegment& segment) = 0; // payload valid during the call
    virtual uint64_t nowNs() = 0;
};

class TcpConnection {
public:
    TcpConnection(const TcpHandover& handover, const TcpSettings& settings, TcpUser& user, TcpOutput& output,
                  MemoryBudget& budget);
    ~TcpConnection();
    TcpConnection(const TcpConnection&) = delete;
    TcpConnection& operator=(const TcpConnection&) = delete;

    // ---- the network ----
    // True: the segment was the peer's, as far as numbers tell; only then it changed anything.
    bool input(const TcpSegment& segment);
    // No further segment is waiting: what was received is acknowledged now.
    void endOfBatch();
    // "Fragmentation needed" for an octet that is in flight; `mtu` 0: unknown.
    void pathMtu(uint32_t quotedSeq, uint16_t mtu);
    void setMtu(uint16_t mtu);
    // When onTimer() must be called at the latest; kNever: not.
    uint64_t deadline() const;
    void onTimer();

    // ---- the owner ----
    TcpState state() const { return state_; }
    // Octets that append() takes without exceeding the send buffer, bookkeeping included.
    size_t room() const;
    // Half of what there may be: worth going on with a stream that waited.
    bool roomy() const { return room() >= sendLimit() / 2; }
    // One unit that shall not be spread over segments without need.  Not behind close().  A little over the buffer
    // is fine.  flush() sends.
    void append(ConstBytes unit, bool push);
    // The same, written by `write` behind what is there; `most`: octets that it writes at most.
    template <typename Write> void append(size_t most, bool push, Write write) {
        if (finQueued_ || state_ == TcpState::Closed)
            return;
        const size_t capacity = tx_.empty() ? 0 : tx_.capacity();
        end_ += tx_.append(most, write);
        units_.push_back({end_, push});
        if (tx_.capacity() !=
            capacity) // no spare memory any more, or more of it; the unit itself counts when it is sent
            account();
    }
    // Sends what windows allow, at most kOctetsAtOnce; then wantsFlush() until the rest was sent.  Behind kShortInFlight
    // short segments, less than a segment is kept for more, until an acknowledgement, the end, or for kGather.
    void flush();
    bool wantsFlush() const { return flushLater_; }
    // Positions in the own stream, counted from the first octet after handover that was not acknowledged.  The FIN is no
    // octet of it.
    uint64_t appended() const { return end_; }
    uint64_t acknowledged() const { return std::min(una_, end_); }
    void resumeReceiving();
    // From now on received octets are acknowledged and thrown away.
    void discardInput();
    void close();           // FIN behind what was appended
    void abort();           // RST, Closed
    void acknowledgeSoon(); // within the delayed-ACK time

    size_t segmentBytes() const { return emss_; } // EMSS of 3.4
    uint64_t rto() const { return rto_; }
    unsigned timeoutsInARow() const { return backoff_; }
    uint64_t smoothedRtt() const { return srtt_; }
    uint64_t flight() const { return nxt_ - una_; }
    uint64_t peerWindow() const { return sndWnd_; }
    uint32_t receiveWindow() const { return static_cast<uint32_t>(rcvAdv_ - rcvNxt_); }
    const Congestion& congestion() const { return *congestion_; }
    const TcpCounters& counters() const { return counters_; }
    // Why what was appended is not under way.
    Limit limit() const;
    uint64_t quietSince() const { return progressAt_; }
    FlowFacts flow() const;
    size_t reorderBytes() const { return reorderBytes_; }
    uint32_t peerTimestamp() const { return tsRecent_; } // newest TSval
    // In TIME_WAIT: the SYN is not one out of the past (RFC 6191).
    bool isNewIncarnation(const TcpSegment& syn) const;

    // Nobody is refused this much, whatever the others have: otherwise a connection could stand still for ever.
    static constexpr size_t kAlways = size_t{128} << 10;
    static constexpr size_t kOctetsAtOnce = size_t{256} << 10;
    // Few messages at a time never wait.  Many do not become a segment each.
    static constexpr size_t kShortInFlight = 4;
    static constexpr uint64_t kGather = kMs / 5;
    // How long an acknowledgement waits for data the other way, where those have come in time before.
    static constexpr uint64_t kAnswer = kMs / 5;

private:
    struct Unit {
        uint64_t end;
        bool push;
    };
    struct Sent {
        uint64_t from;
        uint64_t end;
        uint64_t at;
        uint32_t retransmissions = 0;
        bool sacked = false;
        bool lost = false; // and not retransmitted since
        bool push = false;
        bool fin = false;
        bool roomForMore = false; // counts in shortInFlight_
    };

    // tcp.cpp
    uint64_t now() const { return output_.nowNs(); }
    void account();
    void giveBack();
    size_t sendLimit() const;
    void die(TcpEnd why);
    void shut();
    void updateSegmentBytes();
    void resegment();
    uint32_t timestamp() const;
    TcpSegment header(uint8_t flags);
    void sendAck();
    void challenge(bool exact = false);
    void heard(const TcpSegment& segment);
    void keepaliveFired();
    void persistFired();
    void probe();

    // tcp_receive.cpp
    uint64_t rcvOffset(uint32_t seq) const { return rcvNxt_ + static_cast<uint64_t>(int64_t{seqDiff(seq, rcvSeq())}); }
    uint32_t rcvSeq() const { return rcvBase_ + static_cast<uint32_t>(rcvNxt_); }
    bool acceptable(const TcpSegment& segment);
    bool checkTimestamps(const TcpSegment& segment);
    void refuse(const TcpSegment& segment);
    void receiveData(const TcpSegment& segment);
    void deliver(ConstBytes octets);
    void store(uint64_t from, ConstBytes octets);
    bool insert(uint64_t at, ConstBytes octets);
    void pullStored();
    void dropStored();
    void receiveFin();
    void advanceWindow();
    void fillSack(TcpOptions& options) const;

    // tcp_send.cpp
    uint32_t sndSeq(uint64_t offset) const { return sndBase_ + static_cast<uint32_t>(offset); }
    bool receiveAck(const TcpSegment& segment);
    void advanceUna(uint64_t to, const TcpSegment& segment);
    std::deque<Sent>::iterator entryAt(uint64_t offset);
    bool applySack(const TcpSegment& segment);
    bool sackEntries(uint64_t from, uint64_t to);
    void detectLoss();
    void markLost(Sent& entry);
    void enterRecovery();
    void sampleRtt(uint64_t rtt);
    uint64_t backedOffRto() const;
    void startClock();
    uint64_t pipe() const;
    void transmit(bool mayHold = false);
    bool keeps() const;
    bool retransmitNext(bool force);
    bool sendNew(bool split);
    void sendEntry(Sent& entry);
    void emit(uint64_t from, uint64_t end, bool push, bool fin);
    void retransmissionTimeout();
    void finAcknowledged();

    const TcpSettings settings_;
    TcpHandover link_;
    TcpUser& user_;
    TcpOutput& output_;
    MemoryShare memory_;
    TcpState state_ = TcpState::Established;
    TcpCounters counters_;
    size_t emss_ = 0;

    // Own stream: offset 0 is snd_una at handover.
    uint32_t sndBase_;
    uint64_t una_ = 0;
    uint64_t nxt_ = 0;
    uint64_t end_ = 0;     // behind the last appended octet
    uint64_t txStart_ = 0; // offset of the first octet in tx_; what the kernel sent is not there
    OctetQueue tx_;
    std::deque<Unit> units_; // not sent completely
    std::deque<Sent> sent_;  // not acknowledged, in order
    bool finQueued_ = false;
    bool finSent_ = false;
    bool flushLater_ = false;
    size_t shortInFlight_ = 0;
    uint64_t emitted_ = 0; // octets, with what segments cost besides
    uint64_t sndWnd_ = 0, maxWnd_ = 0;
    uint32_t wl1_ = 0, wl2_ = 0;
    std::unique_ptr<Congestion> congestion_;

    // Loss recovery.
    enum class Recovery : uint8_t { None, Fast, Timeout };
    Recovery recovery_ = Recovery::None;
    uint64_t recover_ = 0; // ends when this is acknowledged
    uint64_t sackedBytes_ = 0, lostBytes_ = 0, duplicateBytes_ = 0;
    unsigned duplicateAcks_ = 0;
    uint64_t newestArrived_ = 0;             // when the newest octets that are known to have arrived were sent
    RangeSet sacked_, lost_;                 // entries of sent_ with that flag
    std::array<uint64_t, 3> newestSacked_{}; // where the last entries begin that were sacked, last first
    uint64_t lossScanned_ = 0;               // no entry before this is lost without a retransmission
    std::deque<std::pair<uint64_t, uint64_t>> repeated_; // with SACK: when and what

    // Timers: kNever when off.
    uint64_t srtt_ = 0, rttvar_ = 0, rto_;
    unsigned backoff_ = 0;
    uint64_t rtoAt_ = kNever, persistAt_ = kNever, delackAt_ = kNever, gatherAt_ = kNever, keepAt_ = kNever,
             endAt_ = kNever;
    uint64_t progressAt_ = 0; // of the oldest octet not acknowledged
    uint64_t lastSend_ = 0, lastHeard_ = 0;
    unsigned keepSent_ = 0;
    unsigned persistBackoff_ = 0;
    uint64_t unansweredSince_ = kNever; // zero-window probes

    // Peer's stream: offset 0 is rcv_nxt at handover.
    uint32_t rcvBase_;
    uint64_t rcvNxt_ = 0;
    uint64_t rcvAdv_ = 0;
    uint64_t lastAckSent_ = 0;
    uint64_t windowSent_ = 0; // right edge as last advertised
    OctetQueue rx_;           // in order, not taken by the user
    bool delivering_ = false;
    bool discard_ = false;
    std::map<uint64_t, std::vector<std::byte>> reorder_; // by offset, disjoint
    RangeSet stored_;                                    // the same
    size_t reorderBytes_ = 0;
    uint64_t lastStored_ = 0; // of what came last
    std::optional<uint64_t> finAt_;
    bool finReceived_ = false;
    bool finReported_ = false;
    uint64_t ackPending_ = 0;       // octets ...
    unsigned ackPendingPieces_ = 0; // ... and how often some came
    bool ackNow_ = false;
    uint64_t bareAckAt_ = kNever; // when the last batch was acknowledged without data
    unsigned answers_ = 0;        // how often in a row data would have carried the acknowledgement
    bool echoCongestion_ = false;
    uint32_t tsRecent_ = 0;
    uint64_t challengeWindow_ = 0;
    unsigned challengesInWindow_ = 0, probesInWindow_ = 0;
};

} // namespace erdma
