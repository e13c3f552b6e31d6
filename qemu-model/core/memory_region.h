// SPDX-License-Identifier: GPL-2.0-or-later
// Memory regions: STag table, protection checks, page-table walk (adapter.md chapter 8).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>

#include "host.h"
#include "hw.h"
#include "observer.h"

namespace erdma {

// Bit positions of REG_MR cfg1 and of the REG_MR SQE's attributes (the same absolute bits): [5:1].
namespace access {
inline constexpr uint32_t kRemoteAtomic = 1u << 1;
inline constexpr uint32_t kLocalRead = 1u << 2;
inline constexpr uint32_t kLocalWrite = 1u << 3;
inline constexpr uint32_t kRemoteRead = 1u << 4;
inline constexpr uint32_t kRemoteWrite = 1u << 5;
inline constexpr uint32_t kMask = 0x3E;
} // namespace access

enum class MrFault : uint8_t { None, Stag, Bounds, Rights, Pd, Wrap, Dma };

// Who accesses.  The local DMA key, which opens all memory whatever the PD, is for Kernel only.
enum class Side : uint8_t { User, Kernel, Remote };

struct MrAccess {
    uint32_t stag;
    uint32_t pd;
    uint64_t addr;
    uint64_t length; // 0: nothing is checked, everything is allowed (wire.md 4.3 to 4.5)
    uint32_t need;   // access:: bits, all must be present
    Side side;
};

// REG_MR command (4.11) after decoding; fields that the type leaves undefined are 0.
struct RegisterMr {
    uint32_t index;
    uint8_t key;
    bool valid;
    uint8_t version;
    uint32_t pd;
    uint8_t type; // 0 NORMAL, 1 FRMR, 2 DMA
    uint32_t access;
    uint64_t start;
    uint32_t sizeLow;
    uint8_t pageShift;
    uint8_t tablePageShift; // log2 bytes, 12..19
    uint8_t level;
    uint32_t countLow;
    uint64_t words[4]; // @32, @40, @48, @56
};

// REG_MR work request (7.1) after decoding.
struct FastRegister {
    uint32_t stag;
    uint64_t iova;
    uint32_t length;
    uint32_t access;
    uint8_t pageShift;
    bool inlineList; // MTT_TYPE 0
    uint32_t count;
    uint64_t pages[4];
};

class MrTable {
public:
    // `limit`: indices are below it.  `maxSizeLog`: log2 bytes of the longest region.  `multiLevel`: levels 2 and 3.
    MrTable(Host& host, uint32_t limit, uint32_t maxSizeLog, bool multiLevel = true)
        : host_(host), limit_(limit), maxSizeLog_(maxSizeLog), multiLevel_(multiLevel) {}

    Status registerMr(const RegisterMr& request);
    Status deregister(uint32_t index);
    void clear(size_t most) { // as many
        while (most-- != 0 && !regions_.empty())
            regions_.erase(regions_.begin());
    }
    size_t count() const { return regions_.size(); }
    // Tells of regions that come and go, and of accesses that are refused; at once of those that there are.  Null: nobody.
    void observe(Observer* observer);
    // Pieces of guest memory (bus address, bytes) that an access would touch, in order, until `each` returns false.
    // Nobody is told when it is not allowed; then there are none.
    void pieces(const MrAccess& request, const std::function<bool(uint64_t, uint64_t)>& each) const;

    // Protection check only.  Order of verdicts: Stag, Pd, Rights, Wrap, Bounds.
    MrFault check(const MrAccess& request) const;
    // Check, then copy.  On a fault nothing (or for Dma: an undefined part) was copied.  The buffer must hold
    // `request.length` bytes; a shorter one is a Bounds fault.
    MrFault read(const MrAccess& request, Bytes out) const;
    MrFault write(const MrAccess& request, ConstBytes in) const;
    // 8 aligned bytes (request.length is taken as 8); check first, then the atomic operation of the host.
    // A misaligned address is a Bounds fault.
    MrFault atomic(const MrAccess& request, erdma_atomic_op op, uint64_t operand, uint64_t compare,
                   uint64_t& old) const;

    // 8.5.  The PD is that of the queue pair; fast registration of another PD's region, of a NORMAL or DMA region,
    // or with more pages than the table holds is a fault.
    MrFault fastRegister(const FastRegister& request, uint32_t pd);
    // An FRMR that is not valid (any more) stays so: success.  Regions of other types: Stag.
    MrFault localInvalidate(uint32_t stag, uint32_t pd);
    // Send-with-invalidate and read-with-invalidate: only FRMRs, same PD, right key, valid.
    MrFault remoteInvalidate(uint32_t stag, uint32_t pd);

private:
    enum class Type : uint8_t { Normal = 0, Fast = 1, Dma = 2 };
    struct Region {
        Type type = Type::Normal;
        bool valid = false;
        uint8_t key = 0;
        uint8_t pageShift = 12;
        uint8_t level = 0;      // of the walk: 0 `inlined`, 1 array at `root`, 2 and 3 trees below `root`
        uint8_t tableLevel = 0; // of the table named at registration; fast registration may switch to inline
        uint8_t tablePageShift = 12;
        uint32_t pd = 0;
        uint32_t access = 0;
        uint64_t start = 0;
        uint64_t length = 0;
        uint64_t count = 0;    // pages in use
        uint64_t capacity = 0; // pages the table holds
        uint64_t root = 0;     // guest table, read at use
        std::array<uint64_t, 4> inlined{};
    };
    const Region* find(uint32_t stag) const;
    // `region` is null for the local DMA key.
    MrFault resolve(const MrAccess& request, const Region*& region) const;
    // The same, and tells the observer.
    MrFault admit(const MrAccess& request, const Region*& region) const;
    static RegionFacts factsOf(uint32_t index, const Region& region);
    void tellMade(uint32_t index, const Region& region) const {
        if (observer_ && region.valid)
            observer_->regionMade(factsOf(index, region));
    }
    void tellGone(uint32_t index, const Region& region) const {
        if (observer_ && region.valid)
            observer_->regionGone(factsOf(index, region));
    }
    Status add(uint32_t index, const Region& region);
    Status shape(const RegisterMr& request, Region& region) const;
    // Bus addresses of pages [first, first + out.size()) of the region; false: a table is unreachable.
    bool pageAddresses(const Region& region, uint64_t first, std::span<uint64_t> out) const;
    template <typename Span, typename Copy> MrFault transfer(const MrAccess& request, Span span, Copy copy) const;
    template <typename Span, typename Copy>
    MrFault walk(const MrAccess& request, const Region* region, Span span, Copy copy) const;
    MrFault findFast(uint32_t stag, uint32_t pd, Region*& region);

    Host& host_;
    Observer* observer_ = nullptr;
    uint32_t limit_;
    uint32_t maxSizeLog_;
    bool multiLevel_;
    std::unordered_map<uint32_t, Region> regions_; // by index; bounded by limit_
};

} // namespace erdma
