// SPDX-License-Identifier: GPL-2.0-or-later
#include "memory_region.h"

#include <algorithm>

#include "byteorder.h"

namespace erdma {

namespace {

constexpr uint8_t kMinPageShift = 12;
constexpr uint8_t kMaxPageShift = 30;
constexpr uint32_t kMaxInlinePages = 4;
constexpr uint32_t kMaxFastPages = 1u << 20; // what 20 bits of the command can name
constexpr size_t kPageBatch = 64;            // page addresses fetched at a time; lives on the stack
constexpr uint64_t kEntryBytes = 8;

bool wraps(uint64_t start, uint64_t length) { return length != 0 && start + (length - 1) < start; }

uint64_t pagesFor(uint64_t offsetInPage, uint64_t length, uint8_t pageShift) {
    return length == 0 ? 0 : ((offsetInPage + (length - 1)) >> pageShift) + 1;
}

// 8.4: the one length with these low 32 bits that fills exactly `count` pages; nothing when there is none.
std::optional<uint64_t> recoverLength(uint32_t low, uint64_t count, uint64_t offset, uint8_t pageShift) {
    const uint64_t page = uint64_t{1} << pageShift;
    const uint64_t most = (count << pageShift) - offset;
    const uint64_t above = count == 1 ? 0 : most - page; // longer than this; for one page longer than nothing
    const uint64_t candidate = above + 1 + static_cast<uint32_t>(low - static_cast<uint32_t>(above + 1));
    if (candidate > most)
        return std::nullopt;
    return candidate;
}

} // namespace

// ---- registration ----

// Fills in the table of a NORMAL or FRMR region and checks what must hold for the walk.
Status MrTable::shape(const RegisterMr& request, Region& region) const {
    const bool wide = request.version == 1; // high halves of size and count are present
    region.pageShift = request.pageShift;
    region.level = region.tableLevel = request.level;
    region.tablePageShift = request.tablePageShift;
    if (region.pageShift < kMinPageShift || region.pageShift > kMaxPageShift || request.version > 1)
        return Status::Invalid;
    if (request.level > 1 && !wide)
        return Status::Invalid;
    if (request.level > 1 && !multiLevel_)
        return Status::NotSupported;
    const uint64_t countHigh = wide ? request.words[1] >> 32 : 0;
    if (countHigh >> 28 != 0)
        return Status::Invalid;
    region.count = request.countLow | countHigh << 20;
    if (region.count == 0)
        return Status::Invalid;
    if (request.level == 0) {
        if (region.count > kMaxInlinePages || wide)
            return Status::Invalid;
        std::copy_n(request.words, region.count, region.inlined.begin());
    } else {
        region.root = request.words[0];
    }
    if (request.level > 1) {
        const unsigned perTableLog = region.tablePageShift - 3u;
        if ((region.count - 1) >> (perTableLog * request.level) != 0)
            return Status::Invalid;
    }
    region.capacity = region.count;
    return Status::Ok;
}

Status MrTable::registerMr(const RegisterMr& request) {
    if (request.index >= limit_ || request.type > static_cast<uint8_t>(Type::Dma))
        return Status::Invalid;
    if (regions_.contains(request.index))
        return Status::Exists;

    Region region;
    region.type = static_cast<Type>(request.type);
    region.key = request.key;
    region.pd = request.pd;
    region.access = request.access & access::kMask;
    if (region.type == Type::Dma) {
        region.valid = true; // usable at once whatever VALID says (8.2); the table fields mean nothing
        return add(request.index, region);
    }
    if (const Status status = shape(request, region); status != Status::Ok)
        return status;
    if (region.type == Type::Fast) {
        if (region.count > kMaxFastPages)
            return Status::Invalid;
        region.count = 0; // nothing is reachable before the first REG_MR work request
        return add(request.index, region);
    }

    region.valid = request.valid;
    region.start = request.start;
    const uint64_t offset = request.start & ((uint64_t{1} << region.pageShift) - 1);
    if (request.version == 1) {
        region.length = request.sizeLow | (request.words[1] & 0xFFFFFFFF) << 32;
    } else {
        const auto length = recoverLength(request.sizeLow, region.count, offset, region.pageShift);
        if (!length)
            return Status::Invalid;
        region.length = *length;
    }
    if (region.length == 0 || region.length > uint64_t{1} << maxSizeLog_ || wraps(region.start, region.length) ||
        pagesFor(offset, region.length, region.pageShift) != region.count)
        return Status::Invalid;
    return add(request.index, region);
}

Status MrTable::add(uint32_t index, const Region& region) {
    regions_.emplace(index, region);
    tellMade(index, region);
    return Status::Ok;
}

Status MrTable::deregister(uint32_t index) {
    const auto at = regions_.find(index);
    if (at == regions_.end())
        return Status::NotFound;
    tellGone(index, at->second);
    regions_.erase(at);
    return Status::Ok;
}

// ---- for the observer ----

RegionFacts MrTable::factsOf(uint32_t index, const Region& region) {
    return {.stag = index << 8 | region.key,
            .pd = region.pd,
            .access = region.access,
            .start = region.start,
            .length = region.length,
            .whole = region.type == Type::Dma,
            .fast = region.type == Type::Fast};
}

void MrTable::observe(Observer* observer) {
    observer_ = observer;
    for (const auto& [index, region] : regions_)
        tellMade(index, region);
}

MrFault MrTable::admit(const MrAccess& request, const Region*& region) const {
    const MrFault fault = resolve(request, region);
    if (fault != MrFault::None && observer_)
        observer_->refused(request, fault);
    return fault;
}

namespace {

// As much of a buffer as transfer() needs to know when there is none.
struct Extent {
    uint64_t bytes;
    uint64_t size() const { return bytes; }
    bool empty() const { return bytes == 0; }
    Extent first(uint64_t count) const { return {count}; }
    Extent subspan(uint64_t from) const { return {bytes - from}; }
};

} // namespace

void MrTable::pieces(const MrAccess& request, const std::function<bool(uint64_t, uint64_t)>& each) const {
    const Region* region = nullptr;
    if (request.length != 0 && resolve(request, region) == MrFault::None)
        walk(request, region, Extent{request.length},
             [&each](uint64_t addr, Extent piece) { return each(addr, piece.bytes); });
}

// ---- protection ----

const MrTable::Region* MrTable::find(uint32_t stag) const {
    const auto at = regions_.find(stag >> 8);
    if (at == regions_.end() || !at->second.valid || at->second.key != (stag & 0xFF))
        return nullptr;
    return &at->second;
}

MrFault MrTable::resolve(const MrAccess& request, const Region*& region) const {
    region = nullptr;
    if (request.stag == kLocalDmaKey) {
        if (request.side == Side::User)
            return MrFault::Stag;
        constexpr uint32_t granted = access::kLocalRead | access::kLocalWrite;
        if (request.side == Side::Remote || (request.need & ~granted) != 0)
            return MrFault::Rights;
        return wraps(request.addr, request.length) ? MrFault::Wrap : MrFault::None;
    }
    const Region* found = find(request.stag);
    if (!found)
        return MrFault::Stag;
    if (found->pd != request.pd)
        return MrFault::Pd;
    if ((request.need & ~found->access) != 0)
        return MrFault::Rights;
    if (wraps(request.addr, request.length))
        return MrFault::Wrap;
    if (found->type != Type::Dma && (request.addr < found->start || request.length > found->length ||
                                     request.addr - found->start > found->length - request.length))
        return MrFault::Bounds;
    region = found;
    return MrFault::None;
}

MrFault MrTable::check(const MrAccess& request) const {
    const Region* region = nullptr;
    return request.length == 0 ? MrFault::None : admit(request, region);
}

// ---- translation ----

bool MrTable::pageAddresses(const Region& region, uint64_t first, std::span<uint64_t> out) const {
    if (first > region.count || out.size() > region.count - first)
        return false;
    if (region.level == 0) {
        if (first + out.size() > region.inlined.size())
            return false;
        std::copy_n(region.inlined.begin() + static_cast<std::ptrdiff_t>(first), out.size(), out.begin());
        return true;
    }
    const unsigned perTableLog = region.level == 1 ? 63 : region.tablePageShift - 3u;
    const uint64_t perTableMask = (uint64_t{1} << perTableLog) - 1;
    while (!out.empty()) {
        // Walk down to the table that holds the next address, then take as many from it as are wanted.
        uint64_t table = region.root;
        for (unsigned below = region.level - 1u; below > 0; --below) {
            const uint64_t slot = (first >> (perTableLog * below)) & perTableMask;
            std::array<std::byte, kEntryBytes> raw;
            const auto at = behind(table, slot * kEntryBytes, raw.size());
            if (!at || !host_.read(*at, raw))
                return false;
            table = loadLe64(raw, 0);
        }
        const uint64_t slot = first & perTableMask;
        const auto take = static_cast<size_t>(std::min<uint64_t>(out.size(), perTableMask - slot + 1));
        const auto at = behind(table, slot * kEntryBytes, take * kEntryBytes);
        if (!at || !host_.read(*at, std::as_writable_bytes(out.first(take))))
            return false;
        for (uint64_t& address : out.first(take))
            address = toOrder(address, std::endian::little);
        out = out.subspan(take);
        first += take;
    }
    return true;
}

template <typename Span, typename Copy> MrFault MrTable::transfer(const MrAccess& request, Span span, Copy copy) const {
    if (request.length == 0)
        return MrFault::None;
    const Region* region = nullptr;
    if (const MrFault fault = admit(request, region); fault != MrFault::None)
        return fault;
    if (span.size() < request.length)
        return MrFault::Bounds;
    return walk(request, region, span.first(static_cast<size_t>(request.length)), copy);
}

template <typename Span, typename Copy>
MrFault MrTable::walk(const MrAccess& request, const Region* region, Span span, Copy copy) const {
    if (!region || region->type == Type::Dma)
        return copy(request.addr, span) ? MrFault::None : MrFault::Dma;

    const uint64_t pageBytes = uint64_t{1} << region->pageShift;
    const uint64_t position = request.addr - (region->start & ~(pageBytes - 1));
    uint64_t page = position >> region->pageShift;
    uint64_t inside = position & (pageBytes - 1);
    std::array<uint64_t, kPageBatch> buffer;
    while (!span.empty()) {
        const uint64_t wanted = pagesFor(inside, span.size(), region->pageShift);
        const auto batch = std::span(buffer).first(static_cast<size_t>(std::min<uint64_t>(wanted, kPageBatch)));
        if (!pageAddresses(*region, page, batch))
            return MrFault::Dma;
        page += batch.size();
        for (size_t i = 0; i < batch.size() && !span.empty();) {
            // One copy for a run of pages that are neighbours in guest memory too.
            size_t run = 1;
            while (i + run < batch.size() && batch[i + run] == batch[i + run - 1] + pageBytes)
                ++run;
            const auto bytes =
                static_cast<size_t>(std::min<uint64_t>(span.size(), (uint64_t{run} << region->pageShift) - inside));
            const auto at = behind(batch[i], inside, bytes);
            if (!at || !copy(*at, span.first(bytes)))
                return MrFault::Dma;
            span = span.subspan(bytes);
            inside = 0;
            i += run;
        }
    }
    return MrFault::None;
}

MrFault MrTable::read(const MrAccess& request, Bytes out) const {
    return transfer(request, out, [this](uint64_t addr, Bytes piece) { return host_.read(addr, piece); });
}

MrFault MrTable::write(const MrAccess& request, ConstBytes in) const {
    if (observer_)
        observer_->placing(request);
    return transfer(request, in, [this](uint64_t addr, ConstBytes piece) { return host_.write(addr, piece); });
}

MrFault MrTable::atomic(const MrAccess& request, erdma_atomic_op op, uint64_t operand, uint64_t compare,
                        uint64_t& old) const {
    MrAccess whole = request;
    whole.length = sizeof(uint64_t);
    const Region* region = nullptr;
    if (const MrFault fault = admit(whole, region); fault != MrFault::None)
        return fault;
    if (observer_)
        observer_->placing(whole);
    if (request.addr % sizeof(uint64_t) != 0)
        return MrFault::Bounds;
    uint64_t bus = request.addr;
    if (region && region->type != Type::Dma) {
        const uint64_t pageBytes = uint64_t{1} << region->pageShift;
        const uint64_t position = request.addr - (region->start & ~(pageBytes - 1));
        uint64_t address = 0;
        if (!pageAddresses(*region, position >> region->pageShift, std::span(&address, 1)))
            return MrFault::Dma;
        const auto at = behind(address, position & (pageBytes - 1), sizeof(uint64_t));
        if (!at)
            return MrFault::Dma;
        bus = *at;
    }
    if (bus % sizeof(uint64_t) != 0) // a page address that is not aligned
        return MrFault::Dma;
    const auto result = host_.atomic64(bus, op, operand, compare);
    if (!result)
        return MrFault::Dma;
    old = *result;
    return MrFault::None;
}

// ---- fast registration ----

MrFault MrTable::findFast(uint32_t stag, uint32_t pd, Region*& region) {
    const auto at = regions_.find(stag >> 8);
    if (at == regions_.end() || at->second.type != Type::Fast)
        return MrFault::Stag;
    if (at->second.pd != pd)
        return MrFault::Pd;
    region = &at->second;
    return MrFault::None;
}

MrFault MrTable::fastRegister(const FastRegister& request, uint32_t pd) {
    Region* region = nullptr;
    if (const MrFault fault = findFast(request.stag, pd, region); fault != MrFault::None)
        return fault;
    if (request.pageShift < kMinPageShift || request.pageShift > kMaxPageShift)
        return MrFault::Bounds;
    if (request.count > (request.inlineList ? uint64_t{kMaxInlinePages} : region->capacity))
        return MrFault::Bounds;
    if (wraps(request.iova, request.length))
        return MrFault::Wrap;
    const uint64_t offset = request.iova & ((uint64_t{1} << request.pageShift) - 1);
    if (pagesFor(offset, request.length, request.pageShift) > request.count)
        return MrFault::Bounds;
    tellGone(request.stag >> 8, *region);
    region->valid = true;
    region->key = static_cast<uint8_t>(request.stag);
    region->start = request.iova;
    region->length = request.length;
    region->access = request.access & access::kMask;
    region->pageShift = request.pageShift;
    region->count = request.count;
    region->level = request.inlineList ? uint8_t{0} : region->tableLevel;
    if (request.inlineList)
        std::copy_n(request.pages, request.count, region->inlined.begin());
    tellMade(request.stag >> 8, *region);
    return MrFault::None;
}

MrFault MrTable::localInvalidate(uint32_t stag, uint32_t pd) {
    Region* region = nullptr;
    if (const MrFault fault = findFast(stag, pd, region); fault != MrFault::None)
        return fault;
    if (region->valid && region->key != (stag & 0xFF))
        return MrFault::Stag;
    tellGone(stag >> 8, *region);
    region->valid = false;
    return MrFault::None;
}

MrFault MrTable::remoteInvalidate(uint32_t stag, uint32_t pd) {
    Region* region = nullptr;
    if (const MrFault fault = findFast(stag, pd, region); fault != MrFault::None)
        return fault;
    if (!region->valid || region->key != (stag & 0xFF))
        return MrFault::Stag;
    tellGone(stag >> 8, *region);
    region->valid = false;
    return MrFault::None;
}

} // namespace erdma
