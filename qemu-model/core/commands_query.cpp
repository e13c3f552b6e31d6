// SPDX-License-Identifier: GPL-2.0-or-later
// Reports and settings: adapter.md 4.13 to 4.21.
#include "commands.h"

#include <algorithm>
#include <array>
#include <bit>
#include <span>
#include <string_view>

#include "byteorder.h"

namespace erdma {

namespace {

constexpr uint16_t kBlockMagic = 0x5566;
constexpr uint8_t kBlockVersion = 1;
constexpr size_t kBlockHeader = 16;
constexpr uint32_t kPageSizeValid = 1u << 31;
constexpr uint32_t kOnlyPageShift = 12;
constexpr uint32_t kAttrDelayedAck = 1u << 0;
constexpr uint32_t kAttrLegacy = 1u << 2;
constexpr uint32_t kMinMtu = 68;
constexpr uint32_t kMaxMtu = 65535;

uint32_t indexOf(ConstBytes request) { return loadLe32(request, 12); }

} // namespace

// Completes the common header and writes as much of the block as the target holds, before the command completes.
CommandProcessor::Reply CommandProcessor::answerInMemory(ConstBytes request, Bytes block) {
    const uint64_t target = loadLe64(request, 16);
    const uint32_t room = loadLe32(request, 24);
    if (room < kBlockHeader)
        return Status::Invalid;
    storeLe16(block, 0, kBlockMagic);
    store8(block, 2, kBlockVersion);
    store8(block, 3, static_cast<uint8_t>(block.size()));
    if (!adapter_.host.write(target, block.first(std::min<size_t>(block.size(), room)))) {
        ++adapter_.counters[Counter::DmaErrors];
        return Status::Fault;
    }
    return {};
}

// The value of a doorbell record, for reports only: no decision ever depends on it.
uint64_t CommandProcessor::peekRecord(uint64_t address) {
    std::array<std::byte, 8> raw;
    return address != 0 && adapter_.host.read(address, raw) ? loadLe64(raw, 0) : 0;
}

CommandProcessor::Reply CommandProcessor::getStats(ConstBytes request) {
    std::array<std::byte, 104> block{}; // the index of the request is not initialised: reported as 0
    storeLe64(block, 16, adapter_.counters[Counter::TxRequests]);
    storeLe64(block, 24, adapter_.counters[Counter::TxPackets]);
    storeLe64(block, 32, adapter_.counters[Counter::TxBytes]);
    storeLe64(block, 40, adapter_.counters[Counter::TxDrops]);
    storeLe64(block, 64, adapter_.counters[Counter::RxPackets]);
    storeLe64(block, 72, adapter_.counters[Counter::RxBytes]);
    storeLe64(block, 80, adapter_.counters[Counter::RxDrops]);
    return answerInMemory(request, block);
}

CommandProcessor::Reply CommandProcessor::queryQpc(ConstBytes request) {
    const uint32_t qpn = indexOf(request);
    std::array<std::byte, 140> block{};
    storeLe32(block, 4, qpn);
    const auto ring = [&](size_t at, uint32_t depthLog, uint32_t pageShift, uint16_t pi, uint16_t ci) {
        store8(block, at, 1);
        store8(block, at + 2, static_cast<uint8_t>(pageShift));
        store8(block, at + 3, static_cast<uint8_t>(depthLog));
        storeLe16(block, at + 4, pi);
        storeLe16(block, at + 6, ci);
    };
    if (qpn == 0) { // the command queue itself
        ring(16, static_cast<uint32_t>(std::countr_zero(queue_.depth)), 12, producer_, consumer_);
        storeLe16(block, 32, consumer_);
        storeLe16(block, 60, producer_);
        storeLe16(block, 62, consumer_);
        storeLe64(block, 80, queue_.address);
        storeLe64(block, 96, queue_.record);
        storeLe64(block, 112, peekRecord(queue_.record));
        return answerInMemory(request, block);
    }
    const QueuePairs::Slot* found = qps_.slot(qpn);
    if (!found)
        return Status::NotFound;
    const QueuePairs::Slot& slot = *found;
    const QpConfig& config = slot.pair->config();
    const Handover& link = slot.pair->handover();
    const QueuePair::Snapshot now = slot.pair->snapshot();
    ring(16, config.sqDepthLog, slot.sqPageShift, now.sqPi, now.sqCi);
    ring(24, config.rqDepthLog, slot.rqPageShift, now.rqPi, now.rqCi);
    storeLe16(block, 32, static_cast<uint16_t>(now.sqCi - 1));
    storeLe16(block, 34, static_cast<uint16_t>(now.rqCi - 1));
    storeLe16(block, 36, static_cast<uint16_t>(now.sendCqes));
    storeLe16(block, 38, static_cast<uint16_t>(now.recvCqes));
    storeLe16(block, 40, static_cast<uint16_t>(now.packetsOut));
    storeLe16(block, 42, static_cast<uint16_t>(now.packetsIn));
    storeLe16(block, 44, static_cast<uint16_t>(now.dropsError));
    storeLe32(block, 48, now.timeouts);
    storeLe32(block, 52, link.cookie & 0xFFFFF); // of an adapter like this one: its QPN
    storeLe32(block, 56, config.pd);
    storeLe16(block, 60, now.sqPi);
    storeLe16(block, 62, now.sqCi);
    storeLe16(block, 64, now.rqCi);
    store8(block, 66, now.flushing ? 1 : 0);
    store8(block, 67, now.flushing ? 1 : 0);
    storeLe16(block, 68, now.flushing ? now.sqCi : uint16_t{0});
    storeLe16(block, 70, now.flushing ? now.rqCi : uint16_t{0});
    storeLe32(block, 72, config.sendCqn);
    storeLe32(block, 76, config.recvCqn);
    storeLe64(block, 80, config.sq.firstAddress());
    storeLe64(block, 88, config.rq.firstAddress());
    storeLe64(block, 96, slot.sqRecord);
    storeLe64(block, 104, slot.rqRecord);
    storeLe64(block, 112, peekRecord(slot.sqRecord));
    storeLe64(block, 120, peekRecord(slot.rqRecord));
    storeLe32(block, 128, link.ownIp.v4()); // the block has no room for IPv6
    storeLe32(block, 132, link.peerIp.v4());
    storeLe16(block, 136, link.ownPort);
    storeLe16(block, 138, link.peerPort);
    return answerInMemory(request, block);
}

CommandProcessor::Reply CommandProcessor::queryCqc(ConstBytes request) {
    const uint32_t cqn = indexOf(request);
    const CompletionQueues::Slot* slot = adapter_.cqs.slot(cqn);
    if (cqn != 0 && !slot)
        return Status::NotFound;
    const CompletionQueue& cq = cqn == 0 ? *cq_ : *slot->queue;
    const uint64_t record = cqn == 0 ? queue_.cqRecord : slot->record;
    std::array<std::byte, 48> block{}; // no doorbell is ever bad: the sequence of IDX is not checked
    storeLe32(block, 4, cqn);
    storeLe32(block, 16, cq.producer());
    store8(block, 20, 1);
    store8(block, 21, static_cast<uint8_t>(cq.depthLog()));
    store8(block, 22, cq.owner() ? 1 : 0);
    storeLe64(block, 32, record);
    storeLe64(block, 40, peekRecord(record));
    return answerInMemory(request, block);
}

CommandProcessor::Reply CommandProcessor::queryEqc(ConstBytes request) {
    const uint32_t index = indexOf(request); // 0 AEQ, 1 command EQ, 2 + i the EQ of completion vector i
    if (index > Events::kQueues)
        return Status::NotFound;
    const EventQueue& eq = index == 0 ? adapter_.events.async() : adapter_.events.queue(index - 1);
    if (!eq.isOpen())
        return Status::NotFound;
    const auto owner = [&eq](uint32_t position) { return static_cast<uint8_t>((position & eq.depth()) == 0 ? 1 : 0); };
    std::array<std::byte, 56> block{};
    storeLe32(block, 4, index);
    storeLe16(block, 16, static_cast<uint16_t>(eq.depth()));
    storeLe16(block, 18, static_cast<uint16_t>(eq.vector()));
    store8(block, 20, eq.armed() ? 0 : 1);
    store8(block, 21, owner(eq.consumer()));
    store8(block, 22, owner(eq.producer()));
    store8(block, 23, eq.held() != 0 ? 1 : 0);
    storeLe32(block, 24, eq.producer());
    storeLe32(block, 28, eq.consumer());
    storeLe64(block, 32, eq.ring());
    storeLe64(block, 40, eq.record());
    storeLe64(block, 48, peekRecord(eq.record()));
    return answerInMemory(request, block);
}

// What of our own the model tells about a queue pair's sends (docs/capabilities.md).
CommandProcessor::Reply CommandProcessor::queryFlow(ConstBytes request) {
    constexpr size_t kTimesAt = 120;
    std::array<std::byte, kTimesAt + (kLimits + 1) * 8> block{};
    const uint32_t qpn = indexOf(request);
    const QueuePairs::Slot* found = qps_.slot(qpn);
    if (!found)
        return Status::NotFound;
    QueuePair& pair = *found->pair;
    pair.noteLimit();
    const uint64_t now = adapter_.machine.nowNs();
    const FlowFacts flow = pair.flow();
    const LimitClock& limits = pair.limits();
    storeLe32(block, 4, qpn);
    store8(block, 16, static_cast<uint8_t>(limits.current()));
    store8(block, 17, static_cast<uint8_t>((pair.active() ? 1 : 0) | (pair.starving() ? 2 : 0)));
    storeLe32(block, 20, pair.path().frameBytes);
    size_t at = 24;
    for (const uint64_t value :
         {flow.window, flow.threshold, flow.flight, flow.peerWindow, flow.rttNs, flow.rttVariationNs, flow.timeoutNs,
          flow.repeats, flow.recoveries, flow.timeouts, flow.notReady, flow.outOfOrder}) {
        storeLe64(block, at, value);
        at += 8;
    }
    for (size_t limit = 0; limit < kLimits; ++limit)
        storeLe64(block, kTimesAt + limit * 8, limits.spent(static_cast<Limit>(limit), now));
    storeLe64(block, kTimesAt + kLimits * 8, pair.starvedNs(now));
    return answerInMemory(request, block);
}

// ---- settings ----

CommandProcessor::Reply CommandProcessor::confMtu(ConstBytes request) {
    const uint32_t mtu = loadLe32(request, 8);
    if (mtu < kMinMtu || mtu > kMaxMtu)
        return Status::Invalid;
    setMtu(mtu);
    return {};
}

void CommandProcessor::setMtu(uint32_t mtu) {
    if (adapter_.nic)
        adapter_.nic->setMtu(static_cast<uint16_t>(mtu));
}

CommandProcessor::Reply CommandProcessor::setRetransmit(ConstBytes request) {
    const uint32_t limit = loadLe32(request, 8);
    if (limit == 0 || limit > 255)
        return Status::Invalid;
    adapter_.retransmitLimit = limit;
    return {};
}

CommandProcessor::Reply CommandProcessor::setExtAttr(ConstBytes request) {
    const uint32_t mask = loadLe32(request, 8);
    if ((mask & ~(kAttrDelayedAck | kAttrLegacy)) != 0)
        return Status::Invalid;
    if ((mask & kAttrDelayedAck) != 0)
        delayedAck_ = load8(request, 12);
    return {}; // legacy mode has no effect (chapter 12, 31)
}

CommandProcessor::Reply CommandProcessor::getExtAttr(ConstBytes request) {
    std::array<std::byte, 28> block{};
    storeLe32(block, 16, adapter_.personality->attributes());
    store8(block, 24, delayedAck_);
    return answerInMemory(request, block);
}

// ---- doorbell pages ----

CommandProcessor::Reply CommandProcessor::confDevice(ConstBytes request) {
    const uint32_t word = loadLe32(request, 8);
    if ((word & kPageSizeValid) != 0 && (word & 0x1F) != kOnlyPageShift)
        return Status::NotSupported; // other host pages would hold several of the adapter's doorbell pages
    return {};
}

CommandProcessor::Reply CommandProcessor::allocDoorbells(ConstBytes request) {
    const uint32_t wanted = loadLe32(request, 8);
    if ((wanted & 7) == 0)
        return Status::Invalid;
    const auto pages = doorbells_.allocate((wanted & 1) != 0, (wanted & 2) != 0, (wanted & 4) != 0);
    if (!pages)
        return Status::NoSpace;
    return {Status::Ok, uint64_t{pages->rq} << 48 | uint64_t{pages->cq} << 32 | pages->sq};
}

CommandProcessor::Reply CommandProcessor::freeDoorbells(ConstBytes request) {
    const uint32_t which = loadLe32(request, 8);
    DoorbellPages pages;
    if ((which & 1) != 0)
        pages.sq = loadLe16(request, 14);
    if ((which & 2) != 0)
        pages.rq = loadLe16(request, 12);
    if ((which & 4) != 0)
        pages.cq = loadLe16(request, 18);
    return doorbells_.release(pages) ? Status::Ok : Status::NotFound;
}

// ---- check mode (docs/capabilities.md) ----

// One finding for each command.  Behind the last one, and when nobody watches, only the state.
CommandProcessor::Reply CommandProcessor::queryCheck(ConstBytes request) {
    constexpr size_t kIdAt = 56;
    constexpr size_t kAdviceAt = kIdAt + FoundFacts::kIdBytes;
    std::array<std::byte, kAdviceAt + FoundFacts::kAdviceBytes> block{};
    const uint32_t index = indexOf(request);
    storeLe32(block, 4, index);
    const Observer* observer = adapter_.observer;
    if (observer && observer->watching()) {
        const size_t total = observer->foundCount();
        store8(block, 16, 1);
        storeLe32(block, 20, static_cast<uint32_t>(total));
        if (index < total) {
            const FoundFacts found = observer->found(index);
            const uint64_t now = adapter_.machine.nowNs();
            const auto text = [&block](size_t at, size_t room, std::string_view value) {
                std::ranges::copy(std::as_bytes(std::span(value.substr(0, room - 1))),
                                  block.begin() + static_cast<ptrdiff_t>(at));
            };
            store8(block, 17, found.severity);
            store8(block, 18, static_cast<uint8_t>((found.kernel ? 1 : 0) | (found.gone ? 2 : 0)));
            storeLe32(block, 24, found.qpn);
            storeLe32(block, 28, found.cqn);
            storeLe64(block, 32, found.count);
            storeLe64(block, 40, now - std::min(now, found.firstNs));
            storeLe64(block, 48, now - std::min(now, found.lastNs));
            text(kIdAt, FoundFacts::kIdBytes, found.id);
            text(kAdviceAt, FoundFacts::kAdviceBytes, found.advice);
        }
    }
    return answerInMemory(request, block);
}

} // namespace erdma
