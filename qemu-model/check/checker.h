// SPDX-License-Identifier: GPL-2.0-or-later
// Check mode: finds what is wrong with the programs that use an adapter, and holds their work back so that it shows
// (docs/check.md).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "adapter.h"
#include "advisor.h"
#include "finding.h"
#include "observer.h"
#include "region_history.h"
#include "settings.h"
#include "sqe.h"
#include "watched.h"

namespace erdma::check {

// Of one adapter, which it must outlive.  Off at first.  Memory is bounded whatever a guest does: what is too much is not
// watched, and counted.
class Checker final : public Observer, public Timed {
public:
    explicit Checker(Adapter& adapter);

    // Forgets everything found and begins; work that is under way then is not watched.
    void start(const Settings& settings);
    void setDelay(const Settings& settings) { settings_ = settings; }
    // Finds nothing from now on; what is held back comes soon.
    void stop();
    bool on() const { return on_; }
    const Settings& settings() const { return settings_; }
    const Findings& findings() const { return findings_; }
    // The report, as docs/check.schema.json describes it.
    std::string report();

    // ---- Observer ----
    void sendsPosted(QueuePair& qp, uint16_t from, uint16_t to) override;
    void receivesPosted(QueuePair& qp, uint16_t from, uint16_t to) override;
    void overrun(QueuePair& qp) override;
    bool holdsRequest(QueuePair& qp, uint16_t index) override;
    void taken(QueuePair& qp, const Sqe& sqe) override;
    bool holdsSegment(QueuePair& qp) override;
    void starved(QueuePair& qp) override;
    void readAsked(QueuePair& qp, uint32_t message, const ReadRequest& read) override;
    void readServed(QueuePair& qp, uint32_t message, const ReadRequest& read) override;
    bool holdsCompletion(uint32_t cqn, const Completion& completion) override;
    void armed(uint32_t cqn, uint32_t unseen) override;
    void placing(const MrAccess& target) override;
    void refused(const MrAccess& access, MrFault fault) override;
    void regionMade(const RegionFacts& region) override;
    void regionGone(const RegionFacts& region) override;
    void ended(QueuePair& qp, const char* why) override;
    void queuePairGone(QueuePair& qp) override;
    void completionQueueGone(uint32_t cqn) override;
    void stopped() override;
    bool watching() const override { return on_; }
    size_t foundCount() const override { return findings_.size(); }
    FoundFacts found(size_t index) const override { return findings_.facts(index); }

    // ---- Timed ----
    uint64_t deadline() const override;
    void onTimer(uint64_t nowNs) override;

private:
    struct Request { // of a send queue, until the program learns of its completion
        uint16_t first = 0;
        Op op = Op::Send;
        bool signalled = false;
        bool placed = false; // the first octets of an answer came
        uint64_t ordinal = 0;
        uint64_t dueNs = 0;            // not taken before
        uint64_t takenNs = 0;          // 0: was not, yet
        std::vector<uint64_t> buffers; // ids
    };
    struct Receive {
        uint16_t index = 0;
        bool placed = false;
        uint64_t buffer = 0;
    };
    struct Queue {
        QueuePair* qp = nullptr;
        std::deque<Request> sends;
        std::deque<Receive> receives;
        std::map<uint32_t, uint64_t> served; // reads of the peer: message, buffer
        uint64_t posted = 0;                 // requests so far
        uint64_t told = 0;                   // so many when the program last learned of a completion
        uint64_t unsignalled = 0;            // in a row, posted last
        uint64_t segments = 0;
        uint64_t flowsUntilNs = 0; // no segment is held before
        uint64_t lastDueNs = 0;
        uint64_t wokenAtNs = 0; // of the request that waits at the front
        bool segmentHeld = false;
        uint64_t failedNs = 0; // when an error was told; 0: never
        bool over = false;     // ended
        Habits habits;
    };
    struct Held {
        Completion completion;
        uint64_t dueNs;
    };
    struct Channel { // a completion queue
        std::deque<Held> held;
        uint64_t lastDueNs = 0;
        uint64_t completions = 0;
        int64_t expected = 0; // completions that may come without a further request
    };
    struct Wake {
        bool completions;
        uint32_t number; // CQN or QPN
    };

    uint64_t now() { return adapter_.machine.nowNs(); }
    Queue& of(QueuePair& qp);
    Queue* find(uint32_t qpn);
    static Place placeOf(const Queue& queue);
    static Place placeOf(const Queue& queue, const Buffer& buffer);
    void wakeAt(uint64_t ns, Wake wake);

    bool readRequest(QueuePair& qp, uint16_t index, uint16_t to, Sqe& sqe);
    void track(Queue& queue, const Sqe& sqe);
    void watch(Queue& queue, Request& request, const Sge& sge, bool sink, bool fence);
    void reportOverlap(const Queue& queue, const Buffer& mine, const Buffer& other, bool fence);
    void countRequest(Queue& queue, const Sqe& sqe);
    void expect(uint32_t cqn, const Place& place);
    void reportPostedAfterEnd(const Queue& queue, bool receiveQueue);
    Request* requestAt(Queue& queue, uint16_t index);
    uint64_t sinkOf(Queue& queue, const MrAccess& target);
    void reportChanged(const Queue& queue, const Buffer& buffer, const char* when);
    void compareSources(const Queue& queue, const Request& request, const char* when);
    void drop(Queue& queue, size_t count);
    void dropAcknowledged(Queue& queue, bool compare);
    void forget(Queue& queue);
    void release(uint32_t cqn, uint64_t untilNs);
    void told(uint32_t cqn, const Completion& completion);
    void noteAlone(Queue& queue, const Completion& completion);
    void releaseFor(const QueuePair& qp);
    void add(Kind kind, const Place& place, std::string sentence);

    static constexpr size_t kMostRequests = 262144; // that are watched, of all queue pairs
    static constexpr size_t kMostHeld = 65536;

    Adapter& adapter_;
    Settings settings_;
    bool on_ = false;
    bool timed_ = false; // known to the scheduler
    bool releasing_ = false;
    Findings findings_;
    Advisor advisor_{findings_};
    RegionHistory regions_;
    BufferSet buffers_;
    std::unordered_map<uint32_t, Queue> queues_;
    std::unordered_map<uint32_t, Channel> channels_;
    std::multimap<uint64_t, Wake> wakes_;
    uint32_t current_ = 0; // QPN of whoever is at work
    size_t requests_ = 0;
    size_t held_ = 0;
    uint64_t unchecked_ = 0;
};

} // namespace erdma::check
