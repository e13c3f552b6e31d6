// SPDX-License-Identifier: GPL-2.0-or-later
// The seam between a queue pair and the protocol that carries its segments.
#pragma once

#include <cstddef>
#include <cstdint>

#include "flow.h"
#include "hw.h"
#include "ip_address.h"
#include "segment.h"

namespace erdma {

// What MODIFY_QP(RTS) hands over (4.9).  Core keeps it for QUERY_QPC and shows it to whoever makes the transport; only
// that one knows what the numbers mean.
struct Handover {
    uint8_t congestionControl = 0;
    uint32_t cookie = 0;
    IpAddress ownIp, peerIp;
    uint16_t ownPort = 0, peerPort = 0;
    uint32_t flowLabel = 0;                // of IPv6, 0: what the guest's kernel uses
    uint32_t sendStart = 0, recvStart = 0; // number of the first octet, or packet, of either direction
};

// What the receiving queue pair says to a segment.
struct Placement {
    enum class Kind : uint8_t {
        Accepted, // placed; for requests: queued
        Hold,     // no receive buffer, or the queue pair is about to fail: offer the same segment again after resume()
        NotReady, // no receive buffer, and Ways::waitsForBuffer is false; nothing was taken, nobody calls
        Failed,   // the connection is dead; `code` is what the Terminate says, `requester` what the culprit's CQE says
        Gone,     // the queue pair had ended, or ended over this: nobody is there to refuse it
    };
    Kind kind = Kind::Accepted;
    RefusalCode code{};
    Syndrome requester = Syndrome::General;
};

// Where the ways of protocols differ and the queue pair acts upon it.
struct Ways {
    // The immediate data of a Write leaves with its last segment, which then is an Immediate that carries payload.
    // Otherwise it is a message behind the Write.
    bool immediateOnWrite = false;
    // The first segment of a Write tells how long it is, and the receiver checks all of the target then.
    bool announcesLength = false;
    // What kind of Send a message is shows in its last segment.
    bool lastTellsKind = false;
    // Segments of own messages and of answers may mix.
    bool interleaves = false;
    // A message without receive buffer waits here for one.
    bool waitsForBuffer = true;
    // A work request that fails at this end waits until those before it are complete, or have failed.
    bool failsInOrder = false;
    // A local invalidation waits for all before it: what was sent may have to be read again.
    bool invalidatesLast = false;
    // What a completion tells of an own work request raises no event; a message half received is flushed over it.
    bool quietRequester = false;
    // An atomic request to a misaligned address, and one without a result buffer of 8 octets, is refused at this end.
    bool strictAtomics = false;
    // Of one work request.
    uint32_t longestMessage = UINT32_MAX;
};

// What messages meet on their way, for those who advise programs (check/).  Zero and false: nothing worth saying.
struct PathFacts {
    uint32_t frameBytes = 0; // payload of a full frame
    bool windowFull = false; // as much is under way as the peer's window, or the buffer at this end, has room for
};

// The way to the peer, owned by the queue pair, and all that core knows of a protocol: one transport may hand segments
// over by call, another turns them into octets of a stream, a third into packets.
//
// A transport may call back into its queue pair (inbound, resume, acknowledged, peerClosed, fail) at any time except
// from inside deliver() and close().  Each of these calls may end the connection and with it destroy the transport.
class Transport {
public:
    virtual ~Transport() = default;
    // One segment of the current message, or a Terminate.  Hold: nothing was taken, call again with the same segment
    // after QueuePair::resume().  The payload is consumed (copied or placed) when Accepted is returned.  Failed only
    // from a transport that learns at once what the peer says; others report through inbound(Terminate).
    virtual Placement deliver(const Segment& segment) = 0;
    // For the life of the transport.
    virtual const Ways& ways() const {
        static constexpr Ways kUsual{};
        return kUsual;
    }
    // Largest payload of one segment, at most kMaxSegmentPayload.
    virtual size_t maxPayload(bool tagged) const = 0;
    // Position behind the last accepted segment, and up to where the peer has confirmed reception: two values of one
    // ever growing count (any unit).  A Send or Write is complete when what sent() was after its last segment is
    // acknowledged; when that is later than deliver(), QueuePair::acknowledged() must be called.
    virtual uint64_t sent() const = 0;
    virtual uint64_t acknowledged() const = 0;
    // acknowledged() may lag behind: CLOSING waits for it (wire.md 7.2).
    virtual bool confirmsLater() const { return false; }
    // Agreed with the peer (2.7): own and foreign requests outstanding, and whether the dialect has the operation.
    virtual uint32_t ord() const { return kMaxOrd; }
    virtual uint32_t ird() const { return kMaxIrd; }
    virtual bool carries(SegmentOp) const { return true; }
    // What the peer and the AEQE are told instead of the reason.
    virtual RefusalCode codeOf(Refusal why) const = 0;
    // The AEQE's type, where the protocol sees it otherwise than usual.
    virtual AsyncEvent eventOf(Refusal, AsyncEvent usual) const { return usual; }
    // Expired retransmission timers, for QUERY_QPC; none where nothing can be lost.
    virtual uint64_t timeouts() const { return 0; }
    virtual PathFacts path() const { return {}; }
    // Why what it took is not under way, and what it waits for; Idle: nothing holds it.
    virtual Limit limit() const { return Limit::Idle; }
    virtual FlowFacts flow() const { return {}; }
    // When the peer last confirmed something, or was last owed nothing: what is lost now was missed since then.
    virtual uint64_t quietSince() const { return 0; }
    // The own queue pair takes segments again that it held back: offer them again to inbound().
    virtual void readyToReceive() = 0;
    // Lets the peer work on what it owes this end, if that is possible without waiting; at most `budget` units.
    // Returns the units done.
    virtual unsigned runPeer(unsigned budget) = 0;
    // The own queue pair ended; last call.  Graceful: everything accepted was delivered, the peer may finish what it
    // already has.
    virtual void close(bool graceful) = 0;
};

} // namespace erdma
