// SPDX-License-Identifier: GPL-2.0-or-later
#include "commands.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "byteorder.h"

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
constexpr uint64_t kModelCheck = uint64_t{1} << 58;
constexpr uint64_t kModelFlow = uint64_t{1} << 59;
constexpr uint32_t kDefaultMtu = 1500;
constexpr uint32_t kKernelRingShift = 20; // 1 MiB
constexpr uint32_t kNumberMask = 0xFFFFF; // QPN, CQN, MR index, PD

constexpr uint32_t bits(uint32_t word, unsigned high, unsigned low) {
    return word >> low & ((high - low == 31 ? 0 : 1u << (high - low + 1)) - 1);
}

} // namespace

struct CommandProcessor::Row {
    uint8_t sub;
    uint8_t opcode;
    const char* name;
    Reply (CommandProcessor::*handler)(ConstBytes request);
    bool extendedDoorbells; // only with that capability
};

std::span<const CommandProcessor::Row> CommandProcessor::table() {
    using D = CommandProcessor;
    // Requests shorter than the longest form read as zero behind their end, so no entry needs a length.
    static constexpr Row rows[] = {
        {0, 0, "QUERY_DEVICE", &D::queryDevice, false},
        {0, 1, "CREATE_QP", &D::createQp, false},
        {0, 2, "DESTROY_QP", &D::destroyQp, false},
        {0, 3, "MODIFY_QP", &D::modifyQp, false},
        {0, 4, "CREATE_CQ", &D::createCq, false},
        {0, 5, "DESTROY_CQ", &D::destroyCq, false},
        {0, 6, "REFLUSH", &D::reflush, false},
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
        // Not the hardware's: docs/capabilities.md.
        {1, 192, "QUERY_CHECK", &D::queryCheck, false},
        {1, 193, "QUERY_FLOW", &D::queryFlow, false},
    };
    return rows;
}

const CommandProcessor::Row* CommandProcessor::find(uint8_t sub, uint8_t opcode) {
    const auto rows = table();
    const auto at = std::ranges::find_if(rows, [&](const Row& row) { return row.sub == sub && row.opcode == opcode; });
    return at == rows.end() ? nullptr : &*at;
}

// ---- queue ----

void CommandProcessor::open(const Queue& queue) {
    queue_ = queue;
    consumer_ = producer_ = 0;
    const uint64_t cqBytes = uint64_t{queue.depth} * CompletionQueue::kEntryBytes;
    cq_ = std::make_unique<CompletionQueue>(0, RingView({queue.cqAddress}, cqBytes, 0, cqBytes),
                                            static_cast<uint32_t>(std::countr_zero(queue.depth)), 0);
}

void CommandProcessor::close() {
    queue_ = {};
    consumer_ = producer_ = 0;
    cq_.reset();
    late_.clear();
    unfinished_.reset();
    adapter_.retransmitLimit = Adapter::kDefaultRetransmitLimit;
    delayedAck_ = 0;
    setMtu(kDefaultMtu);
}

void CommandProcessor::doorbell(uint64_t value) {
    const auto producer = static_cast<uint16_t>(value);
    if (adapter_.faults.losesDoorbell(Doorbell::Command))
        return;
    if (!adapter_.running) {
        adapter_.badDoorbell("command doorbell before INIT");
        return;
    }
    if (static_cast<uint16_t>(producer - consumer_) > queue_.depth) {
        adapter_.badDoorbell("command doorbell with a producer index beyond the ring");
        return;
    }
    producer_ = producer;
    process();
}

void CommandProcessor::cqDoorbell(uint64_t value) {
    if (!adapter_.running) {
        adapter_.badDoorbell("command CQ doorbell before INIT");
        return;
    }
    // The driver consumes first and arms then: what its CI leaves out is new to it (3.7).
    if (cq_->arm(value, [this] { adapter_.events.raise(*cq_); }) != 0)
        cq_->remind([this] { adapter_.events.raise(*cq_); });
}

// Reads WQEBBs [first, end) of the entry at the consumer index; drivers never wrap an entry, a hostile ring may.
bool CommandProcessor::fetch(uint32_t first, uint32_t end, Bytes out) {
    for (uint32_t i = first; i < end; ++i) {
        const uint64_t slot = (consumer_ + i) & (queue_.depth - 1);
        const auto at = behind(queue_.address, slot * kWqebbBytes, kWqebbBytes);
        if (!at || !adapter_.host.read(*at, out.subspan(size_t{i} * kWqebbBytes, kWqebbBytes)))
            return false;
    }
    return true;
}

// False: not yet.
bool CommandProcessor::finishLast() {
    if (!unfinished_)
        return true;
    const QueuePair* qp = qps_.find(unfinished_->qpn);
    if (qp && qp->busy())
        return false;
    const LateAnswer answer = std::exchange(unfinished_, std::nullopt)->answer;
    complete(answer.sqIndex, answer.opcode, answer.reply);
    return true;
}

void CommandProcessor::process() {
    for (unsigned i = 0; i < kCommandsPerEntry && finishLast() && pending() && !adapter_.budget.spent(); ++i) {
        adapter_.budget.charge(16);
        const auto left = static_cast<uint16_t>(producer_ - consumer_);
        std::array<std::byte, kMaxCommandWqebbs * kWqebbBytes> entry{};
        if (!fetch(0, 1, entry)) {
            ++adapter_.counters[Counter::DmaErrors];
            adapter_.guestError("command ring is unreachable: the pending commands are dropped");
            consumer_ = producer_;
            return;
        }
        const uint64_t header = loadLe64(entry, 0);
        const uint32_t wqebbs = (static_cast<uint32_t>(header >> 52) & (kHeaderWqebbs - 1)) + 1;
        const bool known = (wqebbs == 2 || wqebbs == kMaxCommandWqebbs) && wqebbs <= left;
        const uint16_t index = consumer_;
        const bool whole = known && fetch(1, wqebbs, entry);
        consumer_ = static_cast<uint16_t>(index + std::min<uint32_t>(wqebbs, left));
        if (whole) {
            execute(ConstBytes(entry).first(size_t{wqebbs} * kWqebbBytes));
            continue;
        }
        ++adapter_.counters[Counter::Commands];
        adapter_.guestError(known ? "command entry is unreachable" : "command entry with an impossible block count");
        complete(index, static_cast<uint8_t>(header >> 16), {known ? Status::Fault : Status::Invalid});
    }
}

void CommandProcessor::execute(ConstBytes entry) {
    const uint64_t header = loadLe64(entry, 0);
    const auto opcode = static_cast<uint8_t>(header >> 16);
    const auto sub = static_cast<uint8_t>(header >> 24 & 3);
    const auto index = static_cast<uint16_t>(consumer_ - entry.size() / kWqebbBytes);
    const Row* command = find(sub, opcode);
    Personality& personality = *adapter_.personality;
    const char* own = command || sub != 0 ? nullptr : personality.commandName(opcode);
    const char* name = command ? command->name : own ? own : "unknown command";

    ++adapter_.counters[Counter::Commands];
    uint32_t injected = 0;
    const FaultPlan::CommandFate fate = adapter_.faults.onCommand(sub, opcode, injected);
    Reply reply;
    waitFor_ = 0;
    if (fate == FaultPlan::CommandFate::Fail)
        reply.status = static_cast<Status>(injected);
    else if (fate != FaultPlan::CommandFate::Drop) {
        if (command && (!command->extendedDoorbells || adapter_.config.extended_doorbells))
            reply = (this->*command->handler)(entry);
        else if (own)
            reply = personality.command(opcode, entry);
        else
            reply.status = Status::NotSupported;
    }
    adapter_.host.trace(ERDMA_TRACE_COMMAND, uint64_t{sub} << 8 | opcode, static_cast<uint64_t>(reply.status),
                        header >> 32 & 0xFFFF, name);
    // Nobody waits for more answers than that; a guest that asks for more does not make the list longer.
    if (fate == FaultPlan::CommandFate::Delay && late_.size() < kCommandsPerEntry)
        late_.emplace(adapter_.host.nowNs() + injected * kNsPerMs, LateAnswer{index, opcode, reply});
    else if (waitFor_ != 0 && fate == FaultPlan::CommandFate::None)
        unfinished_ = Unfinished{waitFor_, {index, opcode, reply}};
    else if (fate != FaultPlan::CommandFate::Drop)
        complete(index, opcode, reply);
}

// The answer comes when the queue pair is done with what the command ended (9.5).
void CommandProcessor::waitFor(uint32_t qpn) {
    const QueuePair* qp = qps_.find(qpn);
    waitFor_ = qp && qp->busy() ? qpn : 0;
}

void CommandProcessor::onTimer(uint64_t nowNs) {
    while (!late_.empty() && late_.begin()->first <= nowNs) {
        const auto node = late_.extract(late_.begin());
        complete(node.mapped().sqIndex, node.mapped().opcode, node.mapped().reply);
    }
}

void CommandProcessor::complete(uint16_t sqIndex, uint8_t opcode, const Reply& reply) {
    if (reply.status != Status::Ok)
        ++adapter_.counters[Counter::CommandErrors];
    const uint32_t header =
        uint32_t{opcode} << 16 | static_cast<uint32_t>(QueueType::Command) << 8 | static_cast<uint32_t>(reply.status);
    const std::array<uint32_t, 7> words = {sqIndex,
                                           static_cast<uint32_t>(reply.resp0),
                                           static_cast<uint32_t>(reply.resp0 >> 32),
                                           static_cast<uint32_t>(reply.resp1),
                                           static_cast<uint32_t>(reply.resp1 >> 32),
                                           0,
                                           0};
    if (!cq_->postRaw(adapter_.host, header, words, true, [this] { adapter_.events.raise(*cq_); })) {
        ++adapter_.counters[Counter::DmaErrors];
        adapter_.guestError("command completion ring is unwritable");
    }
}

// ---- capabilities ----

CommandProcessor::Reply CommandProcessor::queryDevice(ConstBytes) {
    uint64_t resp0 = uint64_t{adapter_.config.max_cqe_log} << 40 | uint64_t{adapter_.config.max_recv_wr_log} << 16 |
                     adapter_.config.max_mr_size_log;
    resp0 |= kFlagQuery | kModelCheck | kModelFlow | adapter_.personality->capabilities();
    if (adapter_.config.atomic)
        resp0 |= kFlagAtomic;
    if (adapter_.config.multilevel_mtt)
        resp0 |= kFlagTrees;
    if (adapter_.config.extended_doorbells)
        resp0 |= kFlagExtendedDoorbells;
    const uint64_t resp1 = uint64_t{kLocalDmaKey} << 32 | uint64_t{adapter_.config.default_cc} << 28 |
                           uint64_t{adapter_.config.qblock} << 16;
    return {Status::Ok, resp0, resp1};
}

CommandProcessor::Reply CommandProcessor::queryFirmware(ConstBytes) {
    return {Status::Ok, adapter_.config.firmware_version};
}

// ---- event queues ----

CommandProcessor::Reply CommandProcessor::createEq(ConstBytes request) {
    const uint8_t vector = load8(request, 16);
    const uint8_t eqn = load8(request, 17);
    const uint8_t depthLog = load8(request, 18);
    if (eqn == 0 || eqn >= Events::kQueues || vector >= adapter_.config.vectors ||
        depthLog > EventQueue::kMaxDepthLog || load8(request, 19) != kCeq)
        return Status::Invalid;
    if (adapter_.events.queue(eqn).isOpen())
        return Status::Exists;
    adapter_.events.queue(eqn).open(loadLe64(request, 8), 1u << depthLog, vector, eqn, loadLe64(request, 20),
                                    &adapter_.faults);
    ++adapter_.counters[Counter::EqsNow];
    return {};
}

CommandProcessor::Reply CommandProcessor::destroyEq(ConstBytes request) {
    const uint8_t eqn = load8(request, 17);
    if (eqn == 0 || eqn >= Events::kQueues || !adapter_.events.queue(eqn).isOpen())
        return Status::NotFound;
    adapter_.events.queue(eqn).close();
    --adapter_.counters[Counter::EqsNow];
    return {};
}

// ---- completion queues ----

CommandProcessor::Reply CommandProcessor::createCq(ConstBytes request) {
    const uint32_t cfg0 = loadLe32(request, 8);
    const uint32_t cfg1 = loadLe32(request, 20);
    const uint32_t cqn = cfg0 & kNumberMask;
    const uint32_t depthLog = bits(cfg0, 31, 24);
    const uint32_t eqn = bits(cfg1, 9, 0);
    if (cqn == 0 || cqn >= adapter_.maxCqs() || depthLog > adapter_.config.max_cqe_log || eqn == 0 ||
        eqn >= Events::kQueues)
        return Status::Invalid;
    if (adapter_.cqs.find(cqn))
        return Status::Exists;
    if (!adapter_.events.queue(eqn).isOpen())
        return Status::NotFound;

    RingRequest table;
    table.count = bits(cfg1, 31, 16);
    table.table = table.count > 1; // the count decides here, not the level bit (4.5)
    table.address = table.inlined[0] = loadLe64(request, 12);
    table.pageShift = 12 + bits(cfg0, 23, 20);
    table.offset = loadLe32(request, 32);
    table.bytes = uint64_t{CompletionQueue::kEntryBytes} << depthLog;

    CompletionQueues::Slot slot;
    if (adapter_.config.extended_doorbells && (cfg1 & 1u << 11) != 0) {
        slot.group = doorbells_.groupOf(static_cast<uint16_t>(loadLe32(request, 36)));
        if (slot.group == 0)
            return Status::Invalid;
    }
    RingView ring;
    if (const Status status = adapter_.rings.load(adapter_.host, table, ring); status != Status::Ok)
        return status;
    adapter_.rings.take(ring);
    adapter_.budget.charge(ring.pageCount() / 16);
    slot.record = loadLe64(request, 24);
    slot.queue = std::make_unique<CompletionQueue>(cqn, std::move(ring), depthLog, eqn);
    adapter_.cqs.add(std::move(slot));
    return {};
}

CommandProcessor::Reply CommandProcessor::destroyCq(ConstBytes request) {
    const uint32_t cqn = loadLe32(request, 8);
    const CompletionQueue* cq = adapter_.cqs.find(cqn);
    if (!cq)
        return Status::NotFound;
    adapter_.rings.giveBack(cq->ring());
    adapter_.cqs.remove(cqn);
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

// Kernels name one contiguous buffer and pretend that it is a page of this size, which is more than a ring of a process
// is ever mapped with (4.7).
bool isOfKernel(const RingRequest& ring) {
    return !ring.table && ring.count == 1 && ring.pageShift == kKernelRingShift;
}

} // namespace

CommandProcessor::Reply CommandProcessor::createQp(ConstBytes request) {
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
    if (qp.qpn == 0 || qp.qpn >= adapter_.maxQps() || qp.sqDepthLog > kMaxSqDepthLog ||
        qp.rqDepthLog > adapter_.config.max_recv_wr_log)
        return Status::Invalid;
    if (qps_.find(qp.qpn))
        return Status::Exists;
    if (!adapter_.cqs.find(qp.sendCqn) || !adapter_.cqs.find(qp.recvCqn))
        return Status::NotFound;

    const RingRequest sq = qpRing(request, sqCfg, 24, 40, 64, uint64_t{kWqebbBytes} << qp.sqDepthLog);
    const RingRequest rq = qpRing(request, rqCfg, 32, 44, 88, uint64_t{kWqebbBytes} << qp.rqDepthLog);
    qp.ofKernel = isOfKernel(sq) && isOfKernel(rq);
    // Inline page addresses 1 to 3 exist only in the long entry.
    const uint32_t inlineMost = request.size() >= kMaxCommandWqebbs * kWqebbBytes ? 4 : 1;
    if ((!sq.table && sq.count > inlineMost) || (!rq.table && rq.count > inlineMost))
        return Status::Invalid;

    if (const Status status = adapter_.personality->prepare(request, qp); status != Status::Ok)
        return status;

    uint32_t group = 0;
    if (adapter_.config.extended_doorbells && (sqCfg & 1u << 25) != 0) {
        const uint32_t pages = loadLe32(request, 112);
        group = doorbells_.groupOf(static_cast<uint16_t>(pages >> 16));
        if (group == 0 || group != doorbells_.groupOf(static_cast<uint16_t>(pages)))
            return Status::Invalid;
    }
    if (const Status status = adapter_.rings.load(adapter_.host, sq, qp.sq); status != Status::Ok)
        return status;
    if (const Status status = adapter_.rings.load(adapter_.host, rq, qp.rq); status != Status::Ok)
        return status;
    QueuePairs::Slot slot;
    slot.group = group;
    slot.sqRecord = loadLe64(request, 48);
    slot.rqRecord = loadLe64(request, 56);
    slot.sqPageShift = static_cast<uint8_t>(sq.pageShift);
    slot.rqPageShift = static_cast<uint8_t>(rq.pageShift);
    const uint32_t cookie = qp.qpn;
    qps_.add(std::move(qp), std::move(slot));
    adapter_.personality->created(*qps_.find(cookie));
    return {Status::Ok, cookie};
}

CommandProcessor::Reply CommandProcessor::destroyQp(ConstBytes request) {
    const uint32_t qpn = loadLe32(request, 8);
    doorbells_.forget(qpn);
    const Status status = qps_.destroy(qpn);
    if (status == Status::Ok)
        adapter_.personality->destroyed(qpn);
    return status;
}

CommandProcessor::Reply CommandProcessor::modifyQp(ConstBytes request) {
    QueuePair* qp = qps_.find(loadLe32(request, 8) & kNumberMask);
    if (!qp)
        return Status::NotFound;
    const Status status = adapter_.personality->modify(*qp, request);
    waitFor(qp->qpn());
    return status;
}

CommandProcessor::Reply CommandProcessor::reflush(ConstBytes request) {
    QueuePair* qp = qps_.find(loadLe32(request, 8));
    if (!qp)
        return Status::NotFound;
    const Status status = adapter_.personality->reflush(*qp, loadLe16(request, 12), loadLe16(request, 16));
    waitFor(qp->qpn());
    return status;
}

// ---- memory regions ----

CommandProcessor::Reply CommandProcessor::registerMr(ConstBytes request) {
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
    const Status status = adapter_.regions.registerMr(mr);
    adapter_.counters[Counter::MrsNow] = adapter_.regions.count();
    return status;
}

CommandProcessor::Reply CommandProcessor::deregisterMr(ConstBytes request) {
    const Status status = adapter_.regions.deregister(loadLe32(request, 8) & kNumberMask); // any key is fine (4.12)
    adapter_.counters[Counter::MrsNow] = adapter_.regions.count();
    return status;
}

} // namespace erdma
