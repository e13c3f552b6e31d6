// SPDX-License-Identifier: GPL-2.0-or-later
#include "advisor.h"

#include <algorithm>

namespace erdma::check {

namespace {

// So often makes a habit.
constexpr uint64_t kManyRequests = 1000;
constexpr uint64_t kManyAdjacent = 100;
constexpr uint64_t kManyReads = 100;
constexpr uint64_t kManyRegistrations = 50;
constexpr uint64_t kManyStarved = 10;
constexpr uint64_t kLongStarvedNs = 100'000'000;
constexpr uint64_t kManyBetween = 100;
constexpr uint64_t kManyAlone = 100;
constexpr uint64_t kManyArms = 2000;
constexpr uint64_t kManyLong = 200;
constexpr uint64_t kManyBlocked = 200;
constexpr uint64_t kLongWayNs = 2'000'000;
constexpr uint32_t kSmallFrameBytes = 4000; // less than the payload of a jumbo frame, or of RoCEv2's largest path MTU
constexpr uint32_t kManyFrames = 16;        // of one message
constexpr uint64_t kBusyQueues = 4;         // completion queues that are worth a vector of their own
constexpr uint64_t kBusyArms = 100;
constexpr uint32_t kTinyBytes = 256;
constexpr uint64_t kDeep = 8; // requests at a time that are worth a completion in several only
constexpr size_t kMostRanges = 4096;
constexpr size_t kMostQueues = 4096;

} // namespace

void Advisor::clear() {
    ranges_.clear();
    arms_.clear();
    vectors_ = {};
    armed_ = between_ = 0;
    atWork_ = false;
}

void Advisor::posted(Habits& habits, const Place& place, const Sqe& sqe, size_t unfinished, bool oneRead,
                     const PathFacts& path, uint64_t nowNs) {
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
    aboutPath(habits, place, sqe, path, nowNs);
    atWork_ = atWork_ || !place.kernel;
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

void Advisor::aboutPath(Habits& habits, const Place& place, const Sqe& sqe, const PathFacts& path, uint64_t nowNs) {
    const std::string queue = "queue pair " + std::to_string(place.qpn);
    if (path.frameBytes != 0 && path.frameBytes < kSmallFrameBytes &&
        sqe.length >= uint64_t{kManyFrames} * path.frameBytes && ++habits.long_ == kManyLong)
        findings_.add(Kind::SmallMtu, place, nowNs,
                      std::to_string(kManyLong) + " messages of " + queue + " went in " + std::to_string(kManyFrames) +
                          " frames each, or more: the MTU allows " + bytes(path.frameBytes) + " in one");
    if (path.windowFull && ++habits.windowFull >= kManyBlocked && habits.windowFull * 2 >= habits.requests)
        findings_.add(Kind::WindowLimited, place, nowNs,
                      std::to_string(habits.windowFull) + " of " + std::to_string(habits.requests) + " requests of " +
                          queue + " were posted while as much was under way as a connection may have");
}

void Advisor::alone(Habits& habits, const Place& place, uint64_t takenNs, uint64_t nowNs) {
    const uint64_t tookNs = nowNs - takenNs;
    // A program that had nothing to send meanwhile loses nothing.
    if (place.kernel || tookNs < kLongWayNs || takenNs - habits.toldNs > tookNs)
        return;
    habits.aloneNs += tookNs;
    if (++habits.alone == kManyAlone)
        findings_.add(Kind::OneAtATime, place, nowNs,
                      std::to_string(kManyAlone) + " requests of queue pair " + std::to_string(place.qpn) +
                          " were posted one at a time, each behind the completion of the one before, and took " +
                          duration(habits.aloneNs / kManyAlone) + " each");
}

void Advisor::armed(uint32_t cqn, uint32_t vector, uint32_t vectors, uint64_t nowNs) {
    if (vectors < 2 || vector >= vectors_.size() || (arms_.size() >= kMostQueues && !arms_.contains(cqn)))
        return;
    ++arms_[cqn];
    ++vectors_[vector];
    // Nine of ten events by one vector, of several busy queues.
    if (++armed_ % kManyArms != 0 || vectors_[vector] * 10 < armed_ * 9)
        return;
    const auto busy = std::ranges::count_if(arms_, [](const auto& one) { return one.second >= kBusyArms; });
    if (static_cast<uint64_t>(busy) >= kBusyQueues)
        findings_.add(Kind::VectorsUneven, {}, nowNs,
                      std::to_string(busy) + " completion queues were armed " + std::to_string(armed_) + " times, " +
                          std::to_string(vectors_[vector]) + " of them for events by one and the same of " +
                          std::to_string(vectors) + " vectors");
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
    if (region.whole || region.fast || region.length == 0)
        return;
    if (atWork_) {
        if (between_ == 0)
            betweenSinceNs_ = nowNs;
        betweenBytes_ = between_ == 0 ? region.length : betweenBytes_ + region.length;
        if (++between_ == kManyBetween)
            findings_.add(Kind::RegisterBetween, {}, nowNs,
                          std::to_string(kManyBetween) + " regions, together " + bytes(betweenBytes_) +
                              ", were registered between requests within " + duration(nowNs - betweenSinceNs_));
        atWork_ = false;
    }
    if (ranges_.size() >= kMostRanges)
        ranges_.clear();
    if (++ranges_[{region.start, region.length}] == kManyRegistrations)
        findings_.add(Kind::RegisterOften, {}, nowNs,
                      bytes(region.length) + " at " + hex(region.start) + " were registered " +
                          std::to_string(kManyRegistrations) + " times");
}

} // namespace erdma::check
