// SPDX-License-Identifier: GPL-2.0-or-later
#include "impairment.h"

#include <algorithm>

#include "byteorder.h"
#include "packet.h"

namespace erdma {

namespace {

constexpr uint32_t kMillion = 1000000;
constexpr uint64_t kSecondNs = 1000000000;
constexpr uint64_t kReorderNs = 10000000;
constexpr uint64_t kReorderFrames = 3;
constexpr uint64_t kLineQueueNs = 100000000; // frames that wait longer for the line are dropped
constexpr size_t kMaxBytes = size_t{32} << 20;
constexpr size_t kMaxFrames = 32768;

// A receiver must be able to see the damage: whatever stood in for the checksum so far is replaced by the checksum.
void finishChecksum(std::vector<std::byte>& frame, erdma_offload& offload) {
    const size_t start = offload.checksum_start;
    const size_t field = start + offload.checksum_offset;
    if (offload.needs_checksum && field + 2 <= frame.size())
        storeBe16(frame, field, checksumFold(checksumAdd(ConstBytes(frame).subspan(start))));
    offload = {};
}

// As a congested switch does it (RFC 3168); the header's checksum, which IPv6 has not, stays right.
void mark(std::vector<std::byte>& frame, size_t ip) {
    constexpr uint8_t kCongestionExperienced = 3;
    if (load8(frame, ip) >> 4 == 6) { // the traffic class begins four bits later
        store8(frame, ip + 1, load8(frame, ip + 1) | kCongestionExperienced << 4);
        return;
    }
    constexpr size_t kTypeOfService = 1, kChecksum = 10;
    store8(frame, ip + kTypeOfService, load8(frame, ip + kTypeOfService) | kCongestionExperienced);
    storeBe16(frame, ip + kChecksum, 0);
    const size_t size = size_t{load8(frame, ip) & 0xFu} * 4;
    storeBe16(frame, ip + kChecksum, checksumFold(checksumAdd(ConstBytes(frame).subspan(ip, size))));
}

} // namespace

void Impairment::set(const Plan& plan) {
    rules_.set({plan.sides[0].rules, plan.sides[1].rules});
    hasRules_ = !plan.sides[0].rules.empty() || !plan.sides[1].rules.empty();
    for (size_t i = 0; i < paths_.size(); ++i) {
        paths_[i].settings = plan.sides[i];
        paths_[i].dice.seed(plan.seed * paths_.size() + i);
        paths_[i].lineFreeNs = 0;
    }
    plan_ = plan;
    configured_ = plan.sides != Plan{}.sides;
}

// Nothing is thrown for what is not set, so that one setting's dice do not depend on the others that are zero.
bool Impairment::Path::rolls(uint32_t ofMillion) { return ofMillion != 0 && dice() % kMillion < ofMillion; }

void Impairment::Path::insert(uint64_t dueNs, Held&& held) {
    queue.emplace(std::pair{dueNs, order++}, std::move(held));
}

void Impairment::push(erdma_side side, ConstBytes frame, const erdma_offload& offload, uint64_t nowNs) {
    Path& path = paths_[side];
    const Settings& settings = path.settings;

    if (settings.cut) {
        ++counters_[Counter::LinkCut];
        return;
    }
    // Frames of both directions tell of connections, whichever side has rules.
    const PacketRules::Fate fate = hasRules_ ? rules_.judge(side, frame, offload) : PacketRules::Fate{};
    if (fate.drop || path.rolls(settings.loss)) {
        ++counters_[Counter::LinkLost];
        return;
    }
    Held held{{frame.begin(), frame.end()}, offload};
    if (fate.markAt) {
        ++counters_[Counter::LinkMarked];
        mark(held.frame, *fate.markAt);
    }
    if (fate.corruptAt) {
        ++counters_[Counter::LinkCorrupted];
        finishChecksum(held.frame, held.offload);
        held.frame[*fate.corruptAt] ^= std::byte{1};
    }
    if (path.rolls(settings.corrupt) && !held.frame.empty()) {
        ++counters_[Counter::LinkCorrupted];
        finishChecksum(held.frame, held.offload);
        const uint64_t bit = path.dice() % (held.frame.size() * 8);
        held.frame[bit / 8] ^= std::byte{1} << (bit % 8);
    }
    if (path.rolls(settings.duplicate) || fate.duplicate) {
        ++counters_[Counter::LinkDuplicated];
        enqueue(path, Held(held), nowNs, fate.delayNs);
    }
    enqueue(path, std::move(held), nowNs, fate.delayNs);
}

// aloneNs: a delay of this frame only.
void Impairment::enqueue(Path& path, Held&& held, uint64_t nowNs, uint64_t aloneNs) {
    const Settings& settings = path.settings;
    const size_t size = held.frame.size();
    uint64_t due = nowNs;

    if (path.frames >= kMaxFrames || path.bytes + size > kMaxBytes ||
        (settings.bitsPerSecond && path.lineFreeNs > nowNs + kLineQueueNs)) {
        ++counters_[Counter::LinkOverflows];
        return;
    }
    if (settings.bitsPerSecond) {
        path.lineFreeNs = std::max(path.lineFreeNs, nowNs) + size * 8 * kSecondNs / settings.bitsPerSecond;
        due = path.lineFreeNs;
    }
    due += settings.delayNs;
    if (settings.jitterNs)
        due = due - settings.jitterNs + path.dice() % (2 * settings.jitterNs + 1);
    if (settings.delayNs || aloneNs)
        ++counters_[Counter::LinkDelayed];
    due = std::max(due, path.lastDueNs);

    path.bytes += size;
    ++path.frames;
    if (aloneNs) {
        path.insert(due + aloneNs, std::move(held));
        return;
    }
    if (path.rolls(settings.reorder) && !path.passed) {
        ++counters_[Counter::LinkReordered];
        path.passedLeft = static_cast<uint32_t>(1 + path.dice() % kReorderFrames);
        path.passedUntilNs = due + kReorderNs;
        path.passed = std::move(held);
        return;
    }
    path.lastDueNs = due;
    path.insert(due, std::move(held));
    if (path.passed && --path.passedLeft == 0) {
        path.insert(due, std::move(*path.passed));
        path.passed.reset();
    }
}

uint64_t Impairment::deadline() const {
    uint64_t next = ERDMA_TIMER_OFF;
    for (const Path& path : paths_) {
        if (!path.queue.empty())
            next = std::min(next, path.queue.begin()->first.first);
        if (path.passed)
            next = std::min(next, path.passedUntilNs);
    }
    return next;
}

void Impairment::deliverDue(uint64_t nowNs, const Sink& sink) {
    for (uint64_t due = deadline(); due <= nowNs; due = deadline()) {
        for (size_t side = 0; side < paths_.size(); ++side) {
            Path& path = paths_[side];
            if (path.passed && path.passedUntilNs <= due) {
                path.insert(path.passedUntilNs, std::move(*path.passed));
                path.passed.reset();
            }
            if (!path.queue.empty() && path.queue.begin()->first.first <= due)
                deliverOne(side, sink);
        }
    }
}

void Impairment::deliverOne(size_t side, const Sink& sink) {
    Path& path = paths_[side];
    const auto node = path.queue.extract(path.queue.begin());
    const Held& held = node.mapped();
    path.bytes -= held.frame.size();
    --path.frames;
    sink(static_cast<erdma_side>(side), held.frame, held.offload);
}

} // namespace erdma
