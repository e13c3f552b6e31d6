// SPDX-License-Identifier: GPL-2.0-or-later
#include "watched.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "byteorder.h"

namespace erdma::check {

namespace {

// What is copied out of a guest at once: it stays in the processor's nearest cache.
constexpr size_t kPiece = 16 * 1024;
// Reading and hashing so many takes as long as a unit of the budget, 100 ns.
constexpr uint64_t kOctetsPerUnit = 2048;

// Not for secrets: it has to be fast, and to notice any change of a program.
uint64_t step(uint64_t hash, uint64_t value) {
    constexpr uint64_t kFactor = 0x9E3779B97F4A7C15u;
    return std::rotl(hash ^ value, 29) * kFactor;
}

uint64_t mix(uint64_t hash, ConstBytes data) {
    constexpr size_t kRow = 32;
    size_t at = 0;
    if (data.size() >= kRow) {
        // Four chains, because each step waits for the one before.
        uint64_t a = hash, b = hash + 1, c = hash + 2, d = hash + 3;
        for (; at + kRow <= data.size(); at += kRow) {
            std::array<uint64_t, 4> row;
            std::memcpy(row.data(), data.data() + at, kRow);
            a = step(a, row[0]);
            b = step(b, row[1]);
            c = step(c, row[2]);
            d = step(d, row[3]);
        }
        hash = step(step(step(a, b), c), d);
    }
    for (; at + 8 <= data.size(); at += 8)
        hash = step(hash, loadLe64(data, at));
    for (; at < data.size(); ++at)
        hash = step(hash, static_cast<uint64_t>(data[at]));
    return hash;
}

bool meet(const Buffer::Extent& a, const Buffer::Extent& b) {
    return a.bus < b.bus + b.length && b.bus < a.bus + a.length;
}

bool meet(const std::vector<Buffer::Extent>& a, const std::vector<Buffer::Extent>& b) {
    return std::ranges::any_of(a, [&b](const Buffer::Extent& one) {
        return std::ranges::any_of(b, [&one](const Buffer::Extent& other) { return meet(one, other); });
    });
}

} // namespace

template <typename Each> void BufferSet::eachPage(const std::vector<Buffer::Extent>& extents, Each each) {
    for (const Buffer::Extent& extent : extents) {
        const uint64_t last = (extent.bus + extent.length - 1) >> kPageShift;
        for (uint64_t page = extent.bus >> kPageShift; page <= last; ++page)
            each(page);
    }
}

std::vector<Buffer::Extent> BufferSet::extentsOf(const MrAccess& access) const {
    std::vector<Buffer::Extent> out;
    MrAccess head = access;
    head.length = std::min(access.length, kMostBytes);
    adapter_.regions.pieces(head, [&out](uint64_t bus, uint64_t length) {
        if (!out.empty() && out.back().bus + out.back().length == bus)
            out.back().length += length;
        else
            out.push_back({bus, length});
        return true;
    });
    return out;
}

uint64_t BufferSet::add(const Buffer& facts, const MrAccess& access) {
    if (access.length == 0)
        return 0;
    Buffer buffer = facts;
    buffer.stag = access.stag;
    buffer.address = access.addr;
    buffer.length = access.length;
    if (buffers_.size() < kMost)
        buffer.extents = extentsOf(access);
    if (buffer.extents.empty()) {
        ++unchecked_;
        return 0;
    }
    const uint64_t id = ++lastId_;
    Pages& pages = pagesOf(buffer);
    eachPage(buffer.extents, [&](uint64_t page) {
        std::vector<uint64_t>& ids = pages[page];
        if (ids.size() < kMostOfPage)
            ids.push_back(id);
    });
    ++users_[buffer.stag];
    adapter_.budget.charge(4 + buffer.extents.size());
    Buffer& kept = buffers_.emplace(id, std::move(buffer)).first->second;
    remember(kept);
    return id;
}

void BufferSet::remove(uint64_t id) {
    const auto at = buffers_.find(id);
    if (at == buffers_.end())
        return;
    Pages& pages = pagesOf(at->second);
    eachPage(at->second.extents, [&](uint64_t page) {
        const auto here = pages.find(page);
        if (here == pages.end())
            return;
        // The oldest usually goes first.
        if (const auto one = std::ranges::find(here->second, id); one != here->second.end())
            here->second.erase(one);
        if (here->second.empty())
            pages.erase(here);
    });
    if (--users_[at->second.stag] == 0)
        users_.erase(at->second.stag);
    buffers_.erase(at);
}

void BufferSet::clear() {
    buffers_.clear();
    sources_.clear();
    sinks_.clear();
    users_.clear();
    unchecked_ = 0;
}

Buffer* BufferSet::find(uint64_t id) {
    const auto at = buffers_.find(id);
    return at == buffers_.end() ? nullptr : &at->second;
}

void BufferSet::overlapping(const std::vector<Buffer::Extent>& extents, Among among,
                            const std::function<bool(uint64_t, Buffer&)>& each) {
    std::vector<uint64_t> ids;
    const auto collect = [&](const Pages& pages) {
        if (pages.empty())
            return;
        eachPage(extents, [&](uint64_t page) {
            const auto here = pages.find(page);
            if (here != pages.end() && ids != here->second)
                ids.insert(ids.end(), here->second.begin(), here->second.end());
        });
    };
    collect(sinks_);
    if (among == Among::All)
        collect(sources_);
    std::ranges::sort(ids);
    // clang 14 does not compile std::ranges::unique() of libstdc++ 12.
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    adapter_.budget.charge(ids.size() / 16);
    for (const uint64_t id : ids) {
        Buffer& buffer = buffers_.at(id);
        if (meet(extents, buffer.extents) && !each(id, buffer))
            return;
    }
}

void BufferSet::overlapping(const MrAccess& access, const std::function<bool(uint64_t, Buffer&)>& each) {
    if (!buffers_.empty())
        overlapping(extentsOf(access), Among::All, each);
}

void BufferSet::overlapping(uint64_t id, const std::function<bool(uint64_t, Buffer&)>& each) {
    if (const Buffer* buffer = find(id))
        overlapping(buffer->extents, isWritten(buffer->use) ? Among::All : Among::Sinks,
                    [&](uint64_t other, Buffer& there) { return other == id || each(other, there); });
}

void BufferSet::ofRegion(uint32_t stag, const std::function<bool(const Buffer&)>& each) const {
    if (!users_.contains(stag))
        return;
    for (const auto& [id, buffer] : buffers_) {
        if (buffer.stag == stag && !each(buffer))
            return;
    }
}

bool BufferSet::hashOf(const Buffer& buffer, uint64_t& hash) {
    hash = buffer.length;
    scratch_.resize(kPiece);
    for (const Buffer::Extent& extent : buffer.extents) {
        for (uint64_t done = 0; done < extent.length;) {
            const size_t piece = static_cast<size_t>(std::min<uint64_t>(extent.length - done, kPiece));
            const Bytes data = Bytes(scratch_).first(piece);
            if (!adapter_.machine.read(extent.bus + done, data))
                return false;
            hash = mix(hash, data);
            done += piece;
        }
        adapter_.budget.charge(1 + extent.length / kOctetsPerUnit);
    }
    return true;
}

void BufferSet::remember(Buffer& buffer) {
    buffer.hashed = !adapter_.budget.spent() && hashOf(buffer, buffer.hash);
    buffer.written = false;
    if (!buffer.hashed)
        ++unchecked_;
}

bool BufferSet::changed(const Buffer& buffer) {
    uint64_t now = 0;
    return buffer.hashed && !buffer.written && hashOf(buffer, now) && now != buffer.hash;
}

bool BufferSet::changedSince(Buffer& buffer) {
    const bool comparable = buffer.hashed && !buffer.written;
    if (comparable && adapter_.budget.spent()) { // for the look, but not for another
        const bool was = changed(buffer);
        remember(buffer);
        return was;
    }
    const uint64_t before = buffer.hash;
    remember(buffer);
    return comparable && buffer.hashed && buffer.hash != before;
}

} // namespace erdma::check
