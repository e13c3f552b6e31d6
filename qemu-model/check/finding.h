// SPDX-License-Identifier: GPL-2.0-or-later
// What check mode finds: kinds, and a bounded list in which the like is grouped.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "observer.h"
#include <utility>

namespace erdma::check {

enum class Kind : uint8_t {
    SourceChanged,
    ReadTooEarly,
    SinkOverlap,
    UnorderedReuse,
    StaleKey,
    OutOfBounds,
    WrongRights,
    WrongPd,
    CqOverflow,
    SqOverrun,
    UnsignalledFull,
    DestroyedBusy,
    ReadSourceChanged,
    SharedSink,
    PostedAfterError,
    CqNearlyFull,
    ReceiverLate,
    ReadsOneByOne,
    NoInline,
    RegisterOften,
    SignalAll,
    TinyMessages,
    OneAtATime,
    RegisterBetween,
    VectorsUneven,
    SmallMtu,
    WindowLimited,
    Count
};

enum class Severity : uint8_t { Error, Warning, Advice };

struct KindFacts {
    const char* id; // what scripts and suppressions say
    Severity severity;
    const char* advice; // what to do
};
const KindFacts& factsOf(Kind kind);

// Where something was found.  Zero: unknown, or there is none.
struct Place {
    uint32_t qpn = 0;
    uint32_t cqn = 0;
    bool kernel = false; // the queue pair is not of a process
    bool receiveQueue = false;
    std::optional<uint16_t> index; // of the work request, free running, as in its completion
    uint32_t stag = 0;
    uint64_t address = 0; // virtual, as the work request names it
    uint64_t length = 0;
};

struct Finding {
    Kind kind{};
    Place place;          // of the first
    std::string sentence; // about the first
    uint64_t count = 0;
    uint64_t firstNs = 0; // guest's clock
    uint64_t lastNs = 0;
    bool gone = false; // its queue is
};

// One finding for a kind and queue: it counts, and keeps the sentence of the first.  At most kMost; what has no room is
// counted.
class Findings {
public:
    static constexpr size_t kMost = 256;

    void add(Kind kind, const Place& place, uint64_t nowNs, std::string sentence);
    void clear();
    bool empty() const { return found_.empty(); }
    const Finding* find(Kind kind) const; // the first of this kind, for tests
    uint64_t count(Severity severity) const;
    // A JSON array, worst first, and among those as they came.
    std::string json() const;
    uint64_t dropped() const { return dropped_; }

    // The queue is gone: what was found of it stays, and is of nobody who lives.
    void queuePairGone(uint32_t qpn);
    void completionQueueGone(uint32_t cqn);
    void allGone();
    // In the order in which they were found first.
    size_t size() const { return inOrder_.size(); }
    FoundFacts facts(size_t index) const;

private:
    std::map<std::pair<Kind, uint64_t>, Finding> found_; // by kind and queue
    std::vector<Finding*> inOrder_;                      // the same
    uint64_t dropped_ = 0;
};

// ---- sentences ----

std::string hex(uint64_t value);
std::string duration(uint64_t ns); // "1.5 ms"
std::string bytes(uint64_t count); // "1 byte", "2 bytes"

} // namespace erdma::check
