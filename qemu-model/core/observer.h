// SPDX-License-Identifier: GPL-2.0-or-later
// Somebody who watches what programs do with the adapter, and may hold things back (check/).  There is none as a rule:
// each place asks a pointer first.
#pragma once

#include <cstddef>
#include <cstdint>

namespace erdma {

class QueuePair;
struct Completion;
struct MrAccess;
struct ReadRequest;
struct Sqe;
enum class MrFault : uint8_t;

// A region as those know it who use it.
struct RegionFacts {
    uint32_t stag = 0;
    uint32_t pd = 0;
    uint32_t access = 0; // access:: bits
    uint64_t start = 0;
    uint64_t length = 0;
    bool whole = false; // of all memory; start and length mean nothing
    bool fast = false;  // registered by a work request, as kernels do for each transfer
};

// What an observer found, as QUERY_CHECK tells it (docs/capabilities.md).
struct FoundFacts {
    static constexpr size_t kIdBytes = 32; // both with their zero
    static constexpr size_t kAdviceBytes = 160;
    const char* id = "";
    const char* advice = "";
    uint8_t severity = 0; // 0 error, 1 warning, 2 advice
    uint64_t count = 0;
    uint32_t qpn = 0; // of which queue; both 0: of none
    uint32_t cqn = 0;
    bool kernel = false; // the queue pair is not of a process
    bool gone = false;   // the queue was destroyed since
    uint64_t firstNs = 0;
    uint64_t lastNs = 0;
};

// Called from inside entries, so nothing may be called back but what is said here.
class Observer {
public:
    virtual ~Observer() = default;

    // The producer index was `from` and is `to`; the entries between them were not looked at yet.
    virtual void sendsPosted(QueuePair& qp, uint16_t from, uint16_t to) = 0;
    virtual void receivesPosted(QueuePair& qp, uint16_t from, uint16_t to) = 0;
    // A doorbell of the send queue names a place beyond the ring.
    virtual void overrun(QueuePair& qp) = 0;
    // True: the work request at `index` waits.  The observer activates the queue pair when it need not any more.
    virtual bool holdsRequest(QueuePair& qp, uint16_t index) = 0;
    // The work request is executed from now on.
    virtual void taken(QueuePair& qp, const Sqe& sqe) = 0;
    // True: a segment of the peer waits.  As for holdsRequest().
    virtual bool holdsSegment(QueuePair& qp) = 0;
    // A message found no receive buffer.
    virtual void starved(QueuePair& qp) = 0;
    // A read of the peer was accepted; the last of its answer was sent.
    virtual void readAsked(QueuePair& qp, uint32_t message, const ReadRequest& read) = 0;
    virtual void readServed(QueuePair& qp, uint32_t message, const ReadRequest& read) = 0;
    // About to be written to memory.  True: later, the observer calls CompletionQueues::complete() again.
    virtual bool holdsCompletion(uint32_t cqn, const Completion& completion) = 0;
    // So many entries are behind the consumer index that an arm names.
    virtual void armed(uint32_t cqn, uint32_t unseen) = 0;

    // Memory of a region is about to be written.
    virtual void placing(const MrAccess& target) = 0;
    virtual void refused(const MrAccess& access, MrFault fault) = 0;
    virtual void regionMade(const RegionFacts& region) = 0;
    virtual void regionGone(const RegionFacts& region) = 0;

    // The queue pair is about to be flushed.
    virtual void ended(QueuePair& qp, const char* why) = 0;
    virtual void queuePairGone(QueuePair& qp) = 0;
    virtual void completionQueueGone(uint32_t cqn) = 0;
    // All queues and regions are gone.
    virtual void stopped() = 0;

    // False: it only ends what it began.
    virtual bool watching() const = 0;
    // In the order in which they were found first; a finding keeps its index.
    virtual size_t foundCount() const = 0;
    virtual FoundFacts found(size_t index) const = 0;
};

} // namespace erdma
