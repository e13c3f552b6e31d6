// SPDX-License-Identifier: GPL-2.0-or-later
// Doorbell pages of BAR0 (adapter.md 1.2, 6.1 to 6.4, 4.21) including direct WQEs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>

#include "hw.h"
#include "seam.h"

namespace erdma {

struct Adapter;
class QueuePair;
class QueuePairs;

// An SQE stored block by block into a doorbell slot.
struct DirectWqe {
    std::array<std::byte, size_t{kMaxSqeWqebbs} * kWqebbBytes> bytes{};
    uint32_t wqebbs = 0;
};

inline constexpr uint64_t kSqDoorbells = 0x1000;
inline constexpr uint64_t kRqDoorbells = 0x61000;
inline constexpr uint64_t kCqDoorbells = 0x79000;
inline constexpr uint64_t kExtDoorbells = 0x80000; // pages handed out by ALLOC_DB
inline constexpr uint64_t kDoorbellPageBytes = 4096;
inline constexpr uint32_t kExtPages = (ERDMA_BAR0_SIZE - kExtDoorbells) / kDoorbellPageBytes;

// Page numbers count 4 KiB from the start of BAR0; 0: none.
struct DoorbellPages {
    uint16_t sq = 0;
    uint16_t rq = 0;
    uint16_t cq = 0;
};

class Doorbells {
public:
    Doorbells(Adapter& adapter, QueuePairs& qps) : adapter_(adapter), qps_(qps) {}

    // A store of `size` bytes (1..8) at BAR0 offset >= kSqDoorbells.  Only aligned 8-byte stores (or two 4-byte
    // halves, low first) ring, and only what belongs to the page: a queue pair or CQ that was made with pages of its own
    // is rung there only, all others on the pages of everybody.  Anything else is counted as bad and does nothing.
    void store(uint64_t offset, uint64_t value, unsigned size);
    // DESTROY_QP: forgets a half collected direct WQE.
    void forget(uint32_t qpn);
    void clear();

    // ALLOC_DB: one page of each kind that is wanted, or nothing when they do not all fit.
    std::optional<DoorbellPages> allocate(bool sq, bool rq, bool cq);
    // FREE_DB.  false: some page was not allocated; the others are free then.
    bool release(const DoorbellPages& pages);
    // Pages of one ALLOC_DB share a group, a number that is never used again; 0: the page is not allocated.
    uint32_t groupOf(uint16_t page) const;

private:
    struct Page {
        uint32_t group = 0; // 0: free
        bool sq = false;
    };
    struct Place { // what a page rings, and of whom
        enum class Kind : uint8_t { Send, Receive, Completion, Either };
        Kind kind;
        uint32_t group;
    };
    struct Collection { // one open direct WQE, by slot address
        uint32_t qpn = 0;
        uint16_t pi = 0;
        DirectWqe wqe;
        uint32_t missing = 0; // bitmap of the 32 four-byte words not stored yet
    };
    static constexpr size_t kMaxLowHalves = 64;

    // Before another SQ doorbell of the same QP is executed: a half collected direct WQE is done from the ring.
    void abandon(uint32_t qpn);
    std::optional<Place> placeOf(uint64_t offset) const;
    QueuePair* owned(uint32_t qpn, uint32_t group);
    void ringSq(QueuePair& qp, uint16_t pi, const DirectWqe* direct);
    void ringRq(uint32_t qpn, uint16_t pi, uint32_t group);
    bool matchesRing(QueuePair& qp, uint16_t pi, const DirectWqe& direct);
    void storeSq(uint64_t offset, uint64_t value, uint32_t group);
    void storeEither(uint64_t inside, uint64_t value, uint32_t group);
    bool collect(uint64_t offset, uint64_t value, unsigned size);
    void open(uint64_t slot, uint64_t header, QueuePair& qp);
    void finishFromRing(const Collection& collection);

    Adapter& adapter_;
    QueuePairs& qps_;
    std::unordered_map<uint64_t, Collection> open_;  // bounded: one per QP and one per 128-byte slot
    std::unordered_map<uint64_t, uint32_t> lowHalf_; // 4-byte stores waiting for the high half; kMaxLowHalves
    std::array<Page, kExtPages> extended_{};
    uint32_t lastGroup_ = 0;
};

} // namespace erdma
