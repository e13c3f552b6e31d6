// SPDX-License-Identifier: GPL-2.0-or-later
// Rings and regions that live scattered over guest pages.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "host.h"
#include "hw.h"

namespace erdma {

// A ring buffer of the guest (SQ, RQ, CQ): page addresses are copied out of guest memory once, at creation, so a
// guest that rewrites its table later changes nothing.  Adapter.md 4.5 and 4.7.
class RingView {
public:
    RingView() = default;
    // Pages are `pageBytes` apart logically; byte 0 of the ring is at `firstOffset` of page 0.
    RingView(std::vector<uint64_t> pages, uint64_t pageBytes, uint64_t firstOffset, uint64_t ringBytes);
    uint64_t bytes() const { return ringBytes_; }
    size_t pageCount() const { return pages_.size(); }
    // Bus address of the first byte, for reports; 0 without pages.
    uint64_t firstAddress() const { return pages_.empty() ? 0 : pages_.front() + firstOffset_; }
    // `offset` + size must not exceed the ring; crossing a page is fine.  false: guest memory unreachable.
    bool read(Host& host, uint64_t offset, Bytes out) const;
    bool write(Host& host, uint64_t offset, ConstBytes in) const;

private:
    template <typename Span, typename Copy> bool eachPiece(uint64_t offset, Span span, Copy copy) const;

    std::vector<uint64_t> pages_;
    uint64_t pageBytes_ = 0;
    uint64_t firstOffset_ = 0;
    uint64_t ringBytes_ = 0;
};

// How a CREATE_CQ or CREATE_QP command names the pages of a ring, after decoding.
struct RingRequest {
    bool table = false;                // `address` is that of an array of `count` LE64 page addresses
    uint64_t address = 0;              // of the array
    std::array<uint64_t, 4> inlined{}; // page addresses when there is no array; at most 4
    uint32_t count = 0;
    uint32_t pageShift = 12; // log2 bytes
    uint64_t offset = 0;     // of the ring in its first page
    uint64_t bytes = 0;      // of the ring
};

// Copies the page addresses that the ring really uses, at most `maxPages` of them.  Invalid: the pages do not cover
// the ring; NoMemory: too many; Fault: the array is unreachable.
Status loadRing(Host& host, const RingRequest& request, uint64_t maxPages, RingView& ring);

// Page addresses of rings kept for the guest are bounded, all queues together and whatever it creates: 2^22 describe
// 16 GiB of rings in 4 KiB pages.
class RingBudget {
public:
    Status load(Host& host, const RingRequest& request, RingView& ring) const {
        return loadRing(host, request, kMost - std::min(kMost, used_), ring);
    }
    void take(const RingView& ring) { used_ += ring.pageCount(); }
    void giveBack(const RingView& ring) { used_ -= ring.pageCount(); }
    void clear() { used_ = 0; }

private:
    static constexpr uint64_t kMost = uint64_t{1} << 22;
    uint64_t used_ = 0;
};

} // namespace erdma
