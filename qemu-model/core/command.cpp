// SPDX-License-Identifier: GPL-2.0-or-later
// Command queue and the commands that create and destroy objects: adapter.md chapters 3 and 4.
#include <algorithm>

#include "byteorder.h"
#include "device.h"

namespace erdma {

namespace {

constexpr unsigned kCommandsPerEntry = 128; // what a driver has outstanding at most
constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint32_t kMaxCommandWqebbs = 4;
constexpr uint32_t kHeaderWqebbs = 8; // three bits of count
constexpr uint32_t kMaxSqDepthLog = 15;
constexpr uint32_t kCeq = 1; // CREATE_EQ type
constexpr uint32_t kFlagAtomic = 1u << 31;
constexpr uint32_t kFlagQuery = 1u << 30;
constexpr uint32_t kFlagTrees = 1u << 29;
constexpr uint32_t kFlagExtendedDoorbells = 1u << 27;
constexpr uint32_t kNumberMask = 0xFFFFF; // QPN, CQN, MR index, PD

constexpr uint32_t bits(uint32_t word, unsigned high, unsigned low) {
    return word >> low & ((high - low == 31 ? 0 : 1u << (high - low + 1)) - 1);
}

} // namespace

struct Device::CommandEntry {
    uint8_t sub;
    uint8_t opcode;
    const char* name;
    CommandReply (Device::*handler)(ConstBytes request);
    bool extendedDoorbells; // only with that capability
};

std::span<const Device::CommandEntry> Device::commandTable() {
    using D = Device;
    // Requests shorter than the longest form read as zero behind their end, so no entry needs a length.
    static constexpr CommandEntry table[] = {
        {0, 0, "QUERY_DEVICE", &D::queryDevice, false},
        {0, 1, "CREATE_QP", &D::cmdCreateQp, false},
        {0, 2, "DESTROY_QP", &D::cmdDestroyQp, false},
        {0, 3, "MODIFY_QP", &D::cmdModifyQp, false},
        {0, 4, "CREATE_CQ", &D::createCq, false},
        {0, 5, "DESTROY_CQ", &D::destroyCq, false},
        {0, 6, "REFLUSH", &D::cmdReflush, false},
        {0, 8, "REG_MR", &D::registerMr, false},
        {0, 9, "DEREG_MR", &D::deregisterMr, false},
        {0, 11, "QUERY_QPC", &D::queryQpc, false},
        {0, 12, "QUERY_CQC", &D::queryCqc, false},
        {1, 0, "CREATE_EQ", &D::createEq, false},
        {1, 1, "DESTROY_EQ", &D::destroyEq, false},
        {1, 2, "QUERY_FW_INFO", &D::queryFirmware, false},
        {1, 3, "CONF_MTU", &D::confMtu, false},
        {1, 4, "GET_STATS", &D::getStats, false},
        {1, 5, "CONF_DEVICE", &D::confDevice, true},
        {1, 6, "QUERY_EQC", &D::queryEqc, false},
        {1, 7, "SET_RETRANS_NUM", &D::setRetransmit, false},
        {1, 8, "ALLOC_DB", &D::allocDoorbells, true},
        {1, 9, "FREE_DB", &D::freeDoorbells, true},
        {1, 10, "SET_EXT_ATTR", &D::setExtAttr, false},
        {1, 11, "GET_EXT_ATTR", &D::getExtAttr, false},
    };
    return table;
}

const Device::CommandEntry* Device::findCommand(uint8_t sub, uint8_t opcode) {
    const auto table = commandTable();
    const auto at = std::ranges::find_if(
        table, [&](const CommandEntry& entry) { return entry.sub == sub && entry.opcode == opcode; });
    return at == table.end() ? nullptr : &*at;
}

// ---- queue ----

void Device::commandDoorbell(uint64_t value) {
    const auto producer = static_cast<uint16_t>(value);
    if (faults_.losesDoorbell(Doorbell::Command))
        return;
    if (!running_) {
        badDoorbell("command doorbell before INIT");
        return;
    }
    if (static_cast<uint16_t>(producer - commands_.consumer) > commands_.depth) {
        badDoorbell("command doorbell with a producer index beyond the ring");
        return;
    }
    commands_.producer = producer;
    processCommands();
}

void Device::commandCqDoorbell(uint64_t value) {
    if (!running_) {
        badDoorbell("command CQ doorbell before INIT");
        return;
    }
    // The driver consumes first and arms then: what its CI leaves out is new to it (3.7).
    if (cmdCq_->arm(value, [this] { fireCommandEvent(); }) != 0)
        cmdCq_->remind([this] { fireCommandEvent(); });
}

// Reads WQEBBs [first, end) of the entry at the consumer index; drivers never wrap an entry, a hostile ring may.
bool Device::fetchCommand(uint32_t first, uint32_t end, Bytes out) {
    for (uint32_t i = first; i < end; ++i) {
        const uint64_t slot = (commands_.consumer + i) & (commands_.depth - 1);
        if (!host_.read(commands_.address + slot * kWqebbBytes, out.subspan(size_t{i} * kWqebbBytes, kWqebbBytes)))
            return false;
    }
    return true;
}

void Device::processCommands() {
    for (unsigned i = 0; i < kCommandsPerEntry && commands_.pending(); ++i) {
        const auto left = static_cast<uint16_t>(commands_.producer - commands_.consumer);
        std::array<std::byte, kMaxCommandWqebbs * kWqebbBytes> entry{};
        if (!fetchCommand(0, 1, entry)) {
            ++counters_[Counter::DmaErrors];
            guestError("command ring is unreachable: the pending commands are dropped");
            commands_.consumer = commands_.producer;
            return;
        }
        const uint64_t header = loadLe64(entry, 0);
        const uint32_t wqebbs = (static_cast<uint32_t>(header >> 52) & (kHeaderWqebbs - 1)) + 1;
        const bool known = (wqebbs == 2 || wqebbs == kMaxCommandWqebbs) && wqebbs <= left;
        const uint16_t index = commands_.consumer;
        const bool whole = known && fetchCommand(1, wqebbs, entry);
        commands_.consumer = static_cast<uint16_t>(index + std::min<uint32_t>(wqebbs, left));
        if (whole) {
            executeCommand(ConstBytes(entry).first(size_t{wqebbs} * kWqebbBytes));
            continue;
        }
        ++counters_[Counter::Commands];
        guestError(known ? "command entry is unreachable" : "command entry with an impossible block count");
        completeCommand(index, static_cast<uint8_t>(header >> 16), {known ? Status::Fault : Status::Invalid});
    }
}

void Device::executeCommand(ConstBytes entry) {
    const uint64_t header = loadLe64(entry, 0);
    const auto opcode = static_cast<uint8_t>(header >> 16);
    const auto sub = static_cast<uint8_t>(header >> 24 & 3);
    const auto index = static_cast<uint16_t>(commands_.consumer - entry.size() / kWqebbBytes);
    const CommandEntry* command = findCommand(sub, opcode);
    const char* name = command ? command->name : "unknown command";

    ++counters_[Counter::Commands];
    uint32_t injected = 0;
    const FaultPlan::CommandFate fate = faults_.onCommand(sub, opcode, injected);
    CommandReply reply;
    if (fate == FaultPlan::CommandFate::Fail)
        reply.status = static_cast<Status>(injected);
    else if (fate != FaultPlan::CommandFate::Drop) {
        if (command && (!command->extendedDoorbells || config_.extended_doorbells))
            reply = (this->*command->handler)(entry);
        else
            reply.status = Status::NotSupported;
    }
    host_.trace(ERDMA_TRACE_COMMAND, uint64_t{sub} << 8 | opcode, static_cast<uint64_t>(reply.status),
                header >> 32 & 0xFFFF, name);
    // Nobody waits for more answers than that; a guest that asks for more does not make the list longer.
    if (fate == FaultPlan::CommandFate::Delay && late_.size() < kCommandsPerEntry)
        late_.emplace(host_.nowNs() + injected * kNsPerMs, LateAnswer{index, opcode, reply});
    else if (fate != FaultPlan::CommandFate::Drop)
        completeCommand(index, opcode, reply);
}

void Device::answerLate(uint64_t now) {
    while (!late_.empty() && late_.begin()->first <= now) {
        const auto node = late_.extract(late_.begin());
        completeCommand(node.mapped().sqIndex, node.mapped().opcode, node.mapped().reply);
    }
}

void Device::completeCommand(uint16_t sqIndex, uint8_t opcode, const CommandReply& reply) {
    if (reply.status != Status::Ok)
        ++counters_[Counter::CommandErrors];
    const uint32_t header =
        uint32_t{opcode} << 16 | static_cast<uint32_t>(QueueType::Command) << 8 | static_cast<uint32_t>(reply.status);
    const std::array<uint32_t, 7> words = {sqIndex,
                                           static_cast<uint32_t>(reply.resp0),
                                           static_cast<uint32_t>(reply.resp0 >> 32),
                                           static_cast<uint32_t>(reply.resp1),
                                           static_cast<uint32_t>(reply.resp1 >> 32),
                                           0,
                                           0};
    if (!cmdCq_->postRaw(host_, header, words, true, [this] { fireCommandEvent(); })) {
        ++counters_[Counter::DmaErrors];
        guestError("command completion ring is unwritable");
    }
}

void Device::fireCommandEvent() {
    if (eqs_[0].postForCq(host_, counters_, 0, cmdCq_->producer()))
        ++counters_[Counter::CqEvents];
    else
        ++counters_[Counter::LostEvents];
}

// ---- capabilities ----

Device::CommandReply Device::queryDevice(ConstBytes) {
    uint64_t resp0 =
        uint64_t{config_.max_cqe_log} << 40 | uint64_t{config_.max_recv_wr_log} << 16 | config_.max_mr_size_log;
    resp0 |= kFlagQuery;
    if (config_.atomic)
        resp0 |= kFlagAtomic;
    if (config_.multilevel_mtt)
        resp0 |= kFlagTrees;
    if (config_.extended_doorbells)
        resp0 |= kFlagExtendedDoorbells;
    const uint64_t resp1 =
        uint64_t{kLocalDmaKey} << 32 | uint64_t{config_.default_cc} << 28 | uint64_t{config_.qblock} << 16;
    return {Status::Ok, resp0, resp1};
}

Device::CommandReply Device::queryFirmware(ConstBytes) { return {Status::Ok, config_.firmware_version}; }

// ---- event queues ----

Device::CommandReply Device::createEq(ConstBytes request) {
    const uint8_t vector = load8(request, 16);
    const uint8_t eqn = load8(request, 17);
    const uint8_t depthLog = load8(request, 18);
    if (eqn == 0 || eqn >= eqs_.size() || vector >= config_.vectors || depthLog > EventQueue::kMaxDepthLog ||
        load8(request, 19) != kCeq)
        return Status::Invalid;
    if (eqs_[eqn].isOpen())
        return Status::Exists;
    eqs_[eqn].open(loadLe64(request, 8), 1u << depthLog, vector, eqn, loadLe64(request, 20), &faults_);
    ++counters_[Counter::EqsNow];
    return {};
}

Device::CommandReply Device::destroyEq(ConstBytes request) {
    const uint8_t eqn = load8(request, 17);
    if (eqn == 0 || eqn >= eqs_.size() || !eqs_[eqn].isOpen())
        return Status::NotFound;
    eqs_[eqn].close();
    --counters_[Counter::EqsNow];
    return {};
}

// ---- completion queues ----

// Page addresses of all rings of the guest together are bounded, whatever it creates.
Status Device::loadCountedRing(const RingRequest& request, RingView& ring) {
    return loadRing(host_, request, kMaxRingPages - std::min(kMaxRingPages, ringPages_), ring);
}

Device::CommandReply Device::createCq(ConstBytes request) {
    const uint32_t cfg0 = loadLe32(request, 8);
    const uint32_t cfg1 = loadLe32(request, 20);
    const uint32_t cqn = cfg0 & kNumberMask;
    const uint32_t depthLog = bits(cfg0, 31, 24);
    const uint32_t eqn = bits(cfg1, 9, 0);
    if (cqn == 0 || cqn >= maxCqs() || depthLog > config_.max_cqe_log || eqn == 0 || eqn >= eqs_.size())
        return Status::Invalid;
    if (cqs_.contains(cqn))
        return Status::Exists;
    if (!eqs_[eqn].isOpen())
        return Status::NotFound;

    RingRequest table;
    table.count = bits(cfg1, 31, 16);
    table.table = table.count > 1; // the count decides here, not the level bit (4.5)
    table.address = table.inlined[0] = loadLe64(request, 12);
    table.pageShift = 12 + bits(cfg0, 23, 20);
    table.offset = loadLe32(request, 32);
    table.bytes = uint64_t{CompletionQueue::kEntryBytes} << depthLog;

    CqSlot slot;
    if (config_.extended_doorbells && (cfg1 & 1u << 11) != 0) {
        slot.group = doorbells_.groupOf(static_cast<uint16_t>(loadLe32(request, 36)));
        if (slot.group == 0)
            return Status::Invalid;
    }
    RingView ring;
    if (const Status status = loadCountedRing(table, ring); status != Status::Ok)
        return status;
    ringPages_ += ring.pageCount();
    slot.record = loadLe64(request, 24);
    slot.queue = std::make_unique<CompletionQueue>(cqn, std::move(ring), depthLog, eqn);
    cqs_.emplace(cqn, std::move(slot));
    if (lastMissingCq_ == cqn)
        lastMissingCq_ = UINT32_MAX;
    counters_[Counter::CqsNow] = cqs_.size();
    return {};
}

Device::CommandReply Device::destroyCq(ConstBytes request) {
    const uint32_t cqn = loadLe32(request, 8);
    const auto at = cqs_.find(cqn);
    if (at == cqs_.end())
        return Status::NotFound;
    ringPages_ -= at->second.queue->ring().pageCount();
    eqs_[at->second.queue->eqn()].dropCq(cqn);
    reminders_.erase({at->second.scheduledAt, cqn});
    cqs_.erase(at);
    counters_[Counter::CqsNow] = cqs_.size();
    return {};
}

// ---- queue pairs ----

namespace {

// One of the two rings of CREATE_QP: the level bit decides what the address means (4.7).
RingRequest qpRing(ConstBytes request, uint32_t cfg, size_t addressAt, size_t tableAt, size_t inlineAt,
                   uint64_t bytes) {
    const uint32_t tableCfg = loadLe32(request, tableAt);
    RingRequest ring;
    ring.table = bits(tableCfg, 0, 0) != 0;
    ring.count = bits(tableCfg, 11, 1);
    ring.offset = tableCfg & 0xFFFFF000;
    ring.pageShift = 12 + bits(cfg, 31, 28);
    ring.address = ring.inlined[0] = loadLe64(request, addressAt);
    for (size_t i = 1; i < ring.inlined.size(); ++i)
        ring.inlined[i] = loadLe64(request, inlineAt + (i - 1) * 8);
    ring.bytes = bytes;
    return ring;
}

} // namespace

Device::CommandReply Device::cmdCreateQp(ConstBytes request) {
    const uint32_t cfg0 = loadLe32(request, 8);
    const uint32_t cfg1 = loadLe32(request, 12);
    const uint32_t sqCfg = loadLe32(request, 16);
    const uint32_t rqCfg = loadLe32(request, 20);
    QpConfig qp;
    qp.qpn = cfg0 & kNumberMask;
    qp.pd = cfg1 & kNumberMask;
    qp.sqDepthLog = bits(cfg0, 31, 20);
    qp.rqDepthLog = bits(cfg1, 31, 20);
    qp.sendCqn = bits(sqCfg, 23, 0);
    qp.recvCqn = bits(rqCfg, 23, 0);
    if (qp.qpn == 0 || qp.qpn >= maxQps() || qp.sqDepthLog > kMaxSqDepthLog || qp.rqDepthLog > config_.max_recv_wr_log)
        return Status::Invalid;
    if (qps_.contains(qp.qpn))
        return Status::Exists;
    if (!findCq(qp.sendCqn) || !findCq(qp.recvCqn))
        return Status::NotFound;

    const RingRequest sq = qpRing(request, sqCfg, 24, 40, 64, uint64_t{kWqebbBytes} << qp.sqDepthLog);
    const RingRequest rq = qpRing(request, rqCfg, 32, 44, 88, uint64_t{kWqebbBytes} << qp.rqDepthLog);
    // Inline page addresses 1 to 3 exist only in the long entry.
    const uint32_t inlineMost = request.size() >= kMaxCommandWqebbs * kWqebbBytes ? 4 : 1;
    if ((!sq.table && sq.count > inlineMost) || (!rq.table && rq.count > inlineMost))
        return Status::Invalid;

    uint32_t group = 0;
    if (config_.extended_doorbells && (sqCfg & 1u << 25) != 0) {
        const uint32_t pages = loadLe32(request, 112);
        group = doorbells_.groupOf(static_cast<uint16_t>(pages >> 16));
        if (group == 0 || group != doorbells_.groupOf(static_cast<uint16_t>(pages)))
            return Status::Invalid;
    }
    if (const Status status = loadCountedRing(sq, qp.sq); status != Status::Ok)
        return status;
    if (const Status status = loadCountedRing(rq, qp.rq); status != Status::Ok)
        return status;
    if (const Status status = createQp(qp); status != Status::Ok)
        return status;
    QpSlot& slot = qps_.at(qp.qpn);
    slot.group = group;
    slot.sqRecord = loadLe64(request, 48);
    slot.rqRecord = loadLe64(request, 56);
    slot.sqPageShift = static_cast<uint8_t>(sq.pageShift);
    slot.rqPageShift = static_cast<uint8_t>(rq.pageShift);
    return {Status::Ok, qp.qpn}; // the cookie
}

Device::CommandReply Device::cmdDestroyQp(ConstBytes request) { return destroyQp(loadLe32(request, 8)); }

Device::CommandReply Device::cmdModifyQp(ConstBytes request) {
    const uint32_t cfg = loadLe32(request, 8);
    QpModify change;
    change.qpn = cfg & kNumberMask;
    const uint32_t state = bits(cfg, 31, 24);
    if (state > static_cast<uint32_t>(QpState::Error))
        return Status::Invalid;
    change.state = static_cast<QpState>(state);
    if (change.state == QpState::Rts) { // for every other state the rest of the request is garbage
        Handover& to = change.handover;
        to.congestionControl = static_cast<uint8_t>(bits(cfg, 23, 20));
        to.cookie = loadLe32(request, 12);
        to.peerIp = loadBe32(request, 16);
        to.ownIp = loadBe32(request, 20);
        to.ownPort = loadBe16(request, 24);
        to.peerPort = loadBe16(request, 26);
        to.sendStart = loadLe32(request, 28);
        to.recvStart = loadLe32(request, 32);
    }
    return modifyQp(change);
}

Device::CommandReply Device::cmdReflush(ConstBytes request) {
    return reflushQp(loadLe32(request, 8), loadLe16(request, 12), loadLe16(request, 16));
}

// ---- memory regions ----

Device::CommandReply Device::registerMr(ConstBytes request) {
    const uint32_t cfg0 = loadLe32(request, 8);
    const uint32_t cfg1 = loadLe32(request, 12);
    const uint32_t cfg2 = loadLe32(request, 28);
    RegisterMr mr{};
    mr.valid = bits(cfg0, 31, 31) != 0;
    mr.version = static_cast<uint8_t>(bits(cfg0, 30, 28));
    mr.key = static_cast<uint8_t>(bits(cfg0, 27, 20));
    mr.index = cfg0 & kNumberMask;
    mr.pd = bits(cfg1, 31, 12);
    mr.type = static_cast<uint8_t>(bits(cfg1, 7, 6));
    mr.access = cfg1 & access::kMask;
    mr.start = loadLe64(request, 16);
    mr.sizeLow = loadLe32(request, 24);
    mr.pageShift = static_cast<uint8_t>(bits(cfg2, 31, 27));
    mr.tablePageShift = static_cast<uint8_t>(12 + bits(cfg2, 26, 24));
    mr.level = static_cast<uint8_t>(bits(cfg2, 21, 20));
    mr.countLow = bits(cfg2, 19, 0);
    for (size_t i = 0; i < std::size(mr.words); ++i)
        mr.words[i] = loadLe64(request, 32 + i * 8);
    const Status status = regions_.registerMr(mr);
    counters_[Counter::MrsNow] = regions_.count();
    return status;
}

Device::CommandReply Device::deregisterMr(ConstBytes request) {
    const Status status = regions_.deregister(loadLe32(request, 8) & kNumberMask); // any key is fine (4.12)
    counters_[Counter::MrsNow] = regions_.count();
    return status;
}

} // namespace erdma
