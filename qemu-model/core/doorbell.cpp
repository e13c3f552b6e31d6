// SPDX-License-Identifier: GPL-2.0-or-later
#include "doorbell.h"

#include <algorithm>

#include "byteorder.h"
#include "queue_pairs.h"

namespace erdma {

namespace {

constexpr uint64_t kSlotBytes = 128;
constexpr uint64_t kRqSlotBytes = 32;
constexpr uint64_t kDirectFlag = uint64_t{1} << 26;
constexpr uint64_t kArm = uint64_t{1} << 31;
constexpr uint64_t kCqSlotsPerPage = 512;
constexpr uint64_t kRqSlotsPerPage = 128;
constexpr uint32_t kMinDirectGroups = 4; // fewer switch the feature off (6.3)

uint32_t qpnOf(uint64_t value) { return static_cast<uint32_t>(value >> 32) & 0xFFFFF; }
uint32_t cqnOf(uint64_t value) { return static_cast<uint32_t>(value >> 32) & 0xFFFFFF; }
uint16_t producerOf(uint64_t value) { return static_cast<uint16_t>(value); }
uint32_t wqebbsOf(uint64_t header) { return static_cast<uint32_t>(header >> 52 & 7) + 1; }

size_t pageIndex(uint16_t page) { return page - static_cast<size_t>(kExtDoorbells / kDoorbellPageBytes); }
bool isExtended(uint16_t page) { return page >= kExtDoorbells / kDoorbellPageBytes && pageIndex(page) < kExtPages; }

} // namespace

std::optional<Doorbells::Place> Doorbells::placeOf(uint64_t offset) const {
    if (offset < kRqDoorbells)
        return Place{Place::Kind::Send, 0};
    if (offset < kCqDoorbells)
        return Place{Place::Kind::Receive, 0};
    if (offset < kExtDoorbells)
        return Place{Place::Kind::Completion, 0};
    const Page& page = extended_[(offset - kExtDoorbells) / kDoorbellPageBytes];
    if (page.group == 0)
        return std::nullopt;
    return Place{page.sq ? Place::Kind::Send : Place::Kind::Either, page.group};
}

void Doorbells::store(uint64_t offset, uint64_t value, unsigned size) {
    if ((size != 4 && size != 8) || offset % size != 0) {
        adapter_.badDoorbell("doorbell store that is neither 4 nor 8 aligned bytes");
        return;
    }
    const std::optional<Place> place = placeOf(offset);
    if (!place) {
        adapter_.badDoorbell("store to a doorbell page that is not allocated");
        return;
    }
    if (place->kind == Place::Kind::Send && offset % kSlotBytes >= 8) {
        collect(offset, value, size); // without an open collection there is nothing to ring here
        return;
    }
    if (size == 4) {
        const uint64_t whole = offset & ~uint64_t{7};
        if (offset == whole) {
            if (lowHalf_.size() >= kMaxLowHalves)
                lowHalf_.clear();
            lowHalf_[whole] = static_cast<uint32_t>(value);
            return;
        }
        const auto low = lowHalf_.find(whole);
        if (low == lowHalf_.end()) {
            adapter_.badDoorbell("high half of a doorbell without its low half");
            return;
        }
        value = value << 32 | low->second;
        offset = whole;
        lowHalf_.erase(low);
    }
    switch (place->kind) {
    case Place::Kind::Send:
        storeSq(offset, value, place->group);
        break;
    case Place::Kind::Receive:
        // The first 8 bytes of an RQE; a program may store all 32, the others mean nothing.
        if (offset % kRqSlotBytes == 0)
            ringRq(qpnOf(value), producerOf(value), place->group);
        break;
    case Place::Kind::Completion:
        adapter_.cqs.doorbell(value, place->group);
        break;
    case Place::Kind::Either:
        storeEither(offset % kDoorbellPageBytes, value, place->group);
        break;
    }
}

// Null: counted, nothing rings.
QueuePair* Doorbells::owned(uint32_t qpn, uint32_t group) {
    const QueuePairs::Slot* slot = qps_.slot(qpn);
    if (slot && slot->group == group)
        return slot->pair.get();
    adapter_.badDoorbell(slot ? "doorbell of a queue pair that does not belong to the page"
                              : "doorbell of an unknown queue pair");
    return nullptr;
}

// ---- send queue slots ----

void Doorbells::storeSq(uint64_t offset, uint64_t value, uint32_t group) {
    QueuePair* qp = owned(qpnOf(value), group);
    if (!qp)
        return;
    if ((value & kDirectFlag) != 0 && adapter_.config.direct_wqe_groups >= kMinDirectGroups)
        open(offset, value, *qp);
    else
        ringSq(*qp, producerOf(value), nullptr);
}

void Doorbells::open(uint64_t slot, uint64_t header, QueuePair& qp) {
    if (const auto old = open_.find(slot); old != open_.end()) {
        const Collection unfinished = old->second;
        open_.erase(old);
        finishFromRing(unfinished);
    }
    abandon(qp.qpn());
    if (wqebbsOf(header) > kMaxSqeWqebbs) {
        ringSq(qp, producerOf(header), nullptr); // the ring says what is wrong
        return;
    }
    Collection fresh;
    fresh.qpn = qp.qpn();
    fresh.pi = producerOf(header);
    fresh.wqe.wqebbs = wqebbsOf(header);
    const uint32_t words = fresh.wqe.wqebbs * (kWqebbBytes / 4);
    fresh.missing = words == 32 ? UINT32_MAX : (1u << words) - 1;
    open_.emplace(slot, fresh);
    collect(slot, header, 8);
}

bool Doorbells::collect(uint64_t offset, uint64_t value, unsigned size) {
    const uint64_t slot = offset & ~(kSlotBytes - 1);
    const auto at = open_.find(slot);
    if (at == open_.end())
        return false;
    Collection& collection = at->second;
    const auto inside = static_cast<size_t>(offset - slot);
    if (inside >= size_t{collection.wqe.wqebbs} * kWqebbBytes)
        return false;
    if (size == 8)
        storeLe64(collection.wqe.bytes, inside, value);
    else
        storeLe32(collection.wqe.bytes, inside, static_cast<uint32_t>(value));
    collection.missing &= ~((size == 8 ? 3u : 1u) << (inside / 4));
    if (collection.missing == 0) {
        const Collection complete = collection;
        open_.erase(at);
        if (QueuePair* qp = qps_.find(complete.qpn))
            ringSq(*qp, complete.pi, &complete.wqe);
    }
    return true;
}

void Doorbells::finishFromRing(const Collection& collection) {
    ++adapter_.counters[Counter::DirectWqeFallbacks];
    if (QueuePair* qp = qps_.find(collection.qpn))
        ringSq(*qp, collection.pi, nullptr);
}

void Doorbells::abandon(uint32_t qpn) {
    const auto at = std::find_if(open_.begin(), open_.end(), [qpn](const auto& o) { return o.second.qpn == qpn; });
    if (at == open_.end())
        return;
    const Collection unfinished = at->second;
    open_.erase(at);
    finishFromRing(unfinished);
}

void Doorbells::forget(uint32_t qpn) {
    std::erase_if(open_, [qpn](const auto& o) { return o.second.qpn == qpn; });
}

void Doorbells::clear() {
    open_.clear();
    lowHalf_.clear();
    extended_ = {};
    lastGroup_ = 0;
}

// ---- what is rung ----

// The host wrote the SQE to its ring before it stored the slot; if the two say different things, the ring counts.
bool Doorbells::matchesRing(QueuePair& qp, uint16_t pi, const DirectWqe& direct) {
    const uint64_t depth = uint64_t{1} << qp.config().sqDepthLog;
    const uint64_t first = static_cast<uint16_t>(pi - direct.wqebbs) & (depth - 1);
    std::array<std::byte, 8> header;
    return qp.config().sq.read(adapter_.host, first * kWqebbBytes, header) &&
           loadLe64(header, 0) == loadLe64(direct.bytes, 0);
}

void Doorbells::ringSq(QueuePair& qp, uint16_t pi, const DirectWqe* direct) {
    if (adapter_.faults.losesDoorbell(Doorbell::Send))
        return;
    abandon(qp.qpn());
    ++adapter_.counters[Counter::SqDoorbells];
    if (direct) {
        const bool same = matchesRing(qp, pi, *direct);
        ++adapter_.counters[same ? Counter::DirectWqes : Counter::DirectWqeFallbacks];
        if (!same)
            direct = nullptr;
    }
    qp.sqDoorbell(pi, direct);
}

void Doorbells::ringRq(uint32_t qpn, uint16_t pi, uint32_t group) {
    if (adapter_.faults.losesDoorbell(Doorbell::Receive))
        return;
    QueuePair* qp = owned(qpn, group);
    if (!qp)
        return;
    ++adapter_.counters[Counter::RqDoorbells];
    qp->rqDoorbell(pi);
}

// ---- pages for processes ----

std::optional<DoorbellPages> Doorbells::allocate(bool sq, bool rq, bool cq) {
    const auto wanted = size_t{sq} + size_t{rq} + size_t{cq};
    const auto free = std::count_if(extended_.begin(), extended_.end(), [](const Page& p) { return p.group == 0; });
    if (static_cast<size_t>(free) < wanted)
        return std::nullopt;
    if (++lastGroup_ == 0)
        ++lastGroup_;
    const auto take = [this](bool isSq) {
        const auto at = std::find_if(extended_.begin(), extended_.end(), [](const Page& p) { return p.group == 0; });
        *at = {lastGroup_, isSq};
        return static_cast<uint16_t>(kExtDoorbells / kDoorbellPageBytes +
                                     static_cast<uint64_t>(at - extended_.begin()));
    };
    DoorbellPages pages;
    if (sq)
        pages.sq = take(true);
    if (rq)
        pages.rq = take(false);
    if (cq)
        pages.cq = take(false);
    return pages;
}

bool Doorbells::release(const DoorbellPages& pages) {
    bool known = true;
    for (const uint16_t page : {pages.sq, pages.rq, pages.cq}) {
        if (page == 0)
            continue;
        if (groupOf(page) == 0)
            known = false;
        else
            extended_[pageIndex(page)] = {};
    }
    return known;
}

uint32_t Doorbells::groupOf(uint16_t page) const { return isExtended(page) ? extended_[pageIndex(page)].group : 0; }

// Existing drivers give a process its CQ doorbells at the page named "RQ" and the reverse (4.21), so such a page does
// not say what a store means.  The offset does, except where both readings fit; a CQ doorbell has the arm bit.
void Doorbells::storeEither(uint64_t inside, uint64_t value, uint32_t group) {
    const uint32_t qpn = qpnOf(value);
    const uint32_t cqn = cqnOf(value);
    const QueuePairs::Slot* qp = qps_.slot(qpn);
    const CompletionQueues::Slot* cq = adapter_.cqs.slot(cqn);
    const bool asCq = inside == cqn % kCqSlotsPerPage * 8 && cq && cq->group == group;
    const bool asRq = inside == qpn % kRqSlotsPerPage * kRqSlotBytes && qp && qp->group == group;
    if (asCq && (!asRq || (value & kArm) != 0))
        adapter_.cqs.doorbell(value, group);
    else if (asRq)
        ringRq(qpn, producerOf(value), group);
    else
        adapter_.badDoorbell("doorbell of a queue that does not belong to the page");
}

} // namespace erdma
