// SPDX-License-Identifier: GPL-2.0-or-later
#include "advisor.h"

namespace erdma::check {

namespace {

// So often makes a habit.
constexpr uint64_t kManyRequests = 1000;
constexpr uint64_t kManyAdjacent = 100;
constexpr uint64_t kManyReads = 100;
constexpr uint64_t kManyRegistrations = 50;
constexpr uint64_t kManyStarved = 10;
constexpr uint64_t kLongStarvedNs = 100'000'000;
constexpr uint32_t kTinyBytes = 256;
constexpr uint64_t kDeep = 8; // requests at a time that are worth a completion in several only
constexpr size_t kMostRanges = 4096;

} // namespace

void Advisor::posted(Habits& habits, const Place& place, const Sqe& sqe, size_t unfinished, bool oneRead,
                     uint64_t nowNs) {
    const std::string queue = "queue pair " + std::to_string(place.qpn);
    ++habits.requests;
    habits.signalled += sqe.header.signalled() ? 1 : 0;
    habits.unfinished += unfinished;
    if (habits.requests == kManyRequests && habits.signalled == habits.requests &&
        habits.unfinished / habits.requests >= kDeep)
        findings_.add(Kind::SignalAll, place, nowNs,
                      queue + " had " + std::to_string(habits.requests) + " requests, all of them signalled, " +
                          std::to_string(habits.unfinished / habits.requests) + " unfinished at a time");
    if (sqe.kind == SqeKind::Read && oneRead && ++habits.readsBehindReads == kManyReads)
        findings_.add(Kind::ReadsOneByOne, place, nowNs,
                      std::to_string(kManyReads) + " reads of " + queue +
                          " were posted while another was under way, and its connection allows one at a time");
    const bool data = sqe.kind == SqeKind::Send || sqe.kind == SqeKind::Write;
    if (!data || place.kernel)
        return;
    if (!sqe.inlined && sqe.length != 0 && sqe.length <= kMaxInlineBytes && ++habits.small == kManyRequests)
        findings_.add(Kind::NoInline, place, nowNs,
                      std::to_string(kManyRequests) + " messages of " + queue + " had at most " +
                          std::to_string(kMaxInlineBytes) + " bytes and were not sent inline");
    if (sqe.kind != SqeKind::Write || sqe.length == 0 || sqe.length > kTinyBytes)
        return;
    if (unfinished != 0 && sqe.remoteStag == habits.lastStag && sqe.remoteTo == habits.lastEnd &&
        ++habits.adjacent == kManyAdjacent)
        findings_.add(Kind::TinyMessages, place, nowNs,
                      std::to_string(kManyAdjacent) + " writes of " + queue + " of at most " + bytes(kTinyBytes) +
                          " went right behind the one before, which was unfinished");
    habits.lastStag = sqe.remoteStag;
    habits.lastEnd = sqe.remoteTo + sqe.length;
}

void Advisor::starved(Habits& habits, uint64_t nowNs) {
    ++habits.starved;
    habits.starvedSince = nowNs;
}

void Advisor::fed(Habits& habits, const Place& place, uint64_t nowNs) {
    if (habits.starvedSince == 0)
        return;
    habits.starvedNs += nowNs - habits.starvedSince;
    habits.starvedSince = 0;
    if (habits.starved >= kManyStarved || habits.starvedNs >= kLongStarvedNs)
        findings_.add(Kind::ReceiverLate, place, nowNs,
                      "messages for queue pair " + std::to_string(place.qpn) + " found no receive buffer " +
                          std::to_string(habits.starved) + " times, and waited " + duration(habits.starvedNs));
}

void Advisor::registered(const RegionFacts& region, uint64_t nowNs) {
    if (region.whole || region.length == 0)
        return;
    if (ranges_.size() >= kMostRanges)
        ranges_.clear();
    if (++ranges_[{region.start, region.length}] == kManyRegistrations)
        findings_.add(Kind::RegisterOften, {}, nowNs,
                      bytes(region.length) + " at " + hex(region.start) + " were registered " +
                          std::to_string(kManyRegistrations) + " times");
}

} // namespace erdma::check
