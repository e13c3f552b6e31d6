// SPDX-License-Identifier: GPL-2.0-or-later
// The driver's description of the adapter (src/erdma_hw.h) against the model's.  Both were written from
// docs/spec/adapter.md and must stay apart, so that a mistake in one shows here.  Where the model has numbers they are
// compared; where it has code, entries that are laid out as the driver does are given to it.
#include "hw_layout.h"

namespace erdma::test {
namespace {

// ---- numbers ----

struct Pair {
    const char* what;
    uint64_t driver;
    uint64_t core;
};

constexpr uint64_t op(Op o) { return static_cast<uint64_t>(o); }
constexpr uint64_t syn(Syndrome s) { return static_cast<uint64_t>(s); }
constexpr uint64_t event(AsyncEvent e) { return static_cast<uint64_t>(e); }
constexpr uint64_t state(QpState s) { return static_cast<uint64_t>(s); }

constexpr Pair kNumbers[] = {
    {"SQ doorbells", ERDMA_SQDB_OFFSET, kSqDoorbells},
    {"SQ doorbell pages", ERDMA_SQDB_OFFSET + ERDMA_SQDB_PAGES* ERDMA_DB_PAGE_BYTES, kRqDoorbells},
    {"RQ doorbells", ERDMA_RQDB_OFFSET, kRqDoorbells},
    {"CQ doorbells", ERDMA_CQDB_OFFSET, kCqDoorbells},
    {"least BAR", ERDMA_BAR_MIN_LEN, kCqDoorbells + kDoorbellPageBytes},
    {"doorbell page", ERDMA_DB_PAGE_BYTES, kDoorbellPageBytes},
    {"vectors", ERDMA_MAX_VECTORS, kCoreVectors},
    {"EQ entry", ERDMA_EQE_BYTES, EventQueue::kEntryBytes},
    {"CQ entry", ERDMA_CQE_BYTES, CompletionQueue::kEntryBytes},
    {"WQEBB", ERDMA_WQEBB_BYTES, kWqebbBytes},
    {"WQEBBs of an SQE", ERDMA_MAX_SQE_WQEBBS, kMaxSqeWqebbs},
    {"send SGEs", ERDMA_MAX_SEND_SGE, kMaxSendSges},
    {"inline bytes", ERDMA_MAX_INLINE, kMaxInlineBytes},
    {"ORD", ERDMA_MAX_ORD, kMaxOrd},
    {"IRD", ERDMA_MAX_IRD, kMaxIrd},
    {"direct bit", ERDMA_SQE_DIRECT, kSqeDirectBit},

    {"WRITE", ERDMA_OP_WRITE, op(Op::Write)},
    {"READ", ERDMA_OP_READ, op(Op::Read)},
    {"SEND", ERDMA_OP_SEND, op(Op::Send)},
    {"SEND_IMM", ERDMA_OP_SEND_IMM, op(Op::SendImm)},
    {"RECV", ERDMA_OP_RECV, op(Op::RecvSend)},
    {"RECV_IMM", ERDMA_OP_RECV_IMM, op(Op::RecvWriteImm)},
    {"RECV_INV", ERDMA_OP_RECV_INV, op(Op::RecvSendInv)},
    {"WRITE_IMM", ERDMA_OP_WRITE_IMM, op(Op::WriteImm)},
    {"RECV_SEND_IMM", ERDMA_OP_RECV_SEND_IMM, op(Op::RecvSendImm)},
    {"SEND_INV", ERDMA_OP_SEND_INV, op(Op::SendInv)},
    {"REG_MR", ERDMA_OP_REG_MR, op(Op::RegMr)},
    {"LOCAL_INV", ERDMA_OP_LOCAL_INV, op(Op::LocalInv)},
    {"READ_INV", ERDMA_OP_READ_INV, op(Op::ReadInv)},
    {"ATOMIC_CAS", ERDMA_OP_ATOMIC_CAS, op(Op::CompareSwap)},
    {"ATOMIC_FAA", ERDMA_OP_ATOMIC_FAA, op(Op::FetchAdd)},
    {"opcodes", ERDMA_OP_COUNT, op(Op::FetchAdd) + 1},

    {"OK", ERDMA_SYN_OK, syn(Syndrome::Success)},
    {"GENERAL", ERDMA_SYN_GENERAL, syn(Syndrome::General)},
    {"RQ_FORMAT", ERDMA_SYN_RQ_FORMAT, syn(Syndrome::RecvFormat)},
    {"RQ_STAG", ERDMA_SYN_RQ_STAG, syn(Syndrome::RecvStag)},
    {"RQ_BOUNDS", ERDMA_SYN_RQ_BOUNDS, syn(Syndrome::RecvBounds)},
    {"RQ_RIGHTS", ERDMA_SYN_RQ_RIGHTS, syn(Syndrome::RecvRights)},
    {"RQ_PD", ERDMA_SYN_RQ_PD, syn(Syndrome::RecvPd)},
    {"RQ_WRAP", ERDMA_SYN_RQ_WRAP, syn(Syndrome::RecvWrap)},
    {"SQ_FORMAT", ERDMA_SYN_SQ_FORMAT, syn(Syndrome::SendFormat)},
    {"SQ_READ_DEPTH", ERDMA_SYN_SQ_READ_DEPTH, syn(Syndrome::OrdExceeded)},
    {"SQ_STAG", ERDMA_SYN_SQ_STAG, syn(Syndrome::SendStag)},
    {"SQ_BOUNDS", ERDMA_SYN_SQ_BOUNDS, syn(Syndrome::SendBounds)},
    {"SQ_RIGHTS", ERDMA_SYN_SQ_RIGHTS, syn(Syndrome::SendRights)},
    {"SQ_PD", ERDMA_SYN_SQ_PD, syn(Syndrome::SendPd)},
    {"SQ_WRAP", ERDMA_SYN_SQ_WRAP, syn(Syndrome::SendWrap)},
    {"FLUSHED", ERDMA_SYN_FLUSHED, syn(Syndrome::Flushed)},
    {"RETRIES", ERDMA_SYN_RETRIES, syn(Syndrome::RetryExceeded)},
    {"syndromes", ERDMA_SYN_COUNT, syn(Syndrome::RetryExceeded) + 1},

    {"AE QP_FATAL", ERDMA_AE_QP_FATAL, event(AsyncEvent::QpFatal)},
    {"AE QP_ERQ", ERDMA_AE_QP_ERQ, event(AsyncEvent::RecvQueue)},
    {"AE ACCESS", ERDMA_AE_ACCESS, event(AsyncEvent::Access)},
    {"AE CQ", ERDMA_AE_CQ, event(AsyncEvent::Cq)},
    {"AE OTHER", ERDMA_AE_OTHER, event(AsyncEvent::Other)},

    {"QP IDLE", ERDMA_QP_IDLE, state(QpState::Idle)},
    {"QP RTR", ERDMA_QP_RTR, state(QpState::Rtr)},
    {"QP RTS", ERDMA_QP_RTS, state(QpState::Rts)},
    {"QP CLOSING", ERDMA_QP_CLOSING, state(QpState::Closing)},
    {"QP TERMINATE", ERDMA_QP_TERMINATE, state(QpState::Terminate)},
    {"QP ERROR", ERDMA_QP_ERROR, state(QpState::Error)},

    {"SQ completion", ERDMA_CQE_QTYPE_SQ, static_cast<uint64_t>(QueueType::Send)},
    {"RQ completion", ERDMA_CQE_QTYPE_RQ, static_cast<uint64_t>(QueueType::Receive)},
    {"command completion", ERDMA_CQE_QTYPE_CMD, static_cast<uint64_t>(QueueType::Command)},

    {"right REMOTE_ATOMIC", ERDMA_ACCESS_REMOTE_ATOMIC, access::kRemoteAtomic},
    {"right LOCAL_READ", ERDMA_ACCESS_LOCAL_READ, access::kLocalRead},
    {"right LOCAL_WRITE", ERDMA_ACCESS_LOCAL_WRITE, access::kLocalWrite},
    {"right REMOTE_READ", ERDMA_ACCESS_REMOTE_READ, access::kRemoteRead},
    {"right REMOTE_WRITE", ERDMA_ACCESS_REMOTE_WRITE, access::kRemoteWrite},
};

TEST(HwLayout, NumbersAreTheSame) {
    for (const Pair& pair : kNumbers)
        EXPECT_EQ(pair.driver, pair.core) << pair.what;
}

// ---- registers ----

TEST(HwLayout, RegistersByName) {
    struct Row {
        uint32_t offset;
        const char* name;
    };
    const Row writable[] = {
        {ERDMA_R_CMD_SQ_LO, "CMDQ_SQ_ADDR_L"}, {ERDMA_R_CMD_SQ_HI, "CMDQ_SQ_ADDR_H"},
        {ERDMA_R_CMD_CQ_LO, "CMDQ_CQ_ADDR_L"}, {ERDMA_R_CMD_CQ_HI, "CMDQ_CQ_ADDR_H"},
        {ERDMA_R_CMD_DEPTH, "CMDQ_DEPTH"},     {ERDMA_R_CMD_EQ_DEPTH, "CMDQ_EQ_DEPTH"},
        {ERDMA_R_CMD_EQ_LO, "CMDQ_EQ_ADDR_L"}, {ERDMA_R_CMD_EQ_HI, "CMDQ_EQ_ADDR_H"},
        {ERDMA_R_AEQ_LO, "AEQ_ADDR_L"},        {ERDMA_R_AEQ_HI, "AEQ_ADDR_H"},
        {ERDMA_R_AEQ_ENTRIES, "AEQ_DEPTH"},    {ERDMA_R_CTRL, "DEV_CTRL"},
    };
    const Row wide[] = {{ERDMA_R_CMD_SQ_REC, "CMDQ_SQ_DBREC"},
                        {ERDMA_R_CMD_CQ_REC, "CMDQ_CQ_DBREC"},
                        {ERDMA_R_CMD_EQ_REC, "CMDQ_EQ_DBREC"},
                        {ERDMA_R_AEQ_REC, "AEQ_DBREC"}};
    const Row constant[] = {{ERDMA_R_VERSION, "VERSION"}, {ERDMA_R_PROTO, "DEV_PROTO"},
                            {ERDMA_R_STATUS, "DEV_ST"},   {ERDMA_R_MAC_LO, "MAC_L"},
                            {ERDMA_R_MAC_HI, "MAC_H"},    {ERDMA_R_DWQE_GROUPS, "GRP_NUM"}};
    Machine m;
    for (const Row& row : writable) {
        m.guest.write32(row.offset, 0);
        EXPECT_EQ(m.host.traced, row.name);
    }
    for (const Row& row : wide) {
        m.guest.write64(row.offset, 0);
        EXPECT_EQ(m.host.traced, row.name);
    }
    for (const Row& row : constant) {
        m.host.errors.clear();
        m.host.clock += 3600'000'000'000; // behind the window that limits messages
        m.guest.write32(row.offset, 0);
        ASSERT_EQ(m.host.errors.size(), 1u) << row.name;
        EXPECT_EQ(m.host.errors[0], std::string("write to read-only register ") + row.name);
    }
}

TEST(HwLayout, RegisterValues) {
    erdma_config config = testConfig();
    config.direct_wqe_groups = 17;
    Machine m(128, config);
    EXPECT_EQ(m.guest.read32(ERDMA_R_PROTO), uint32_t{ERDMA_PROTO_IWARP});
    EXPECT_EQ(m.guest.read32(ERDMA_R_DWQE_GROUPS), 17u);
    const uint8_t* mac = config.mac;
    EXPECT_EQ(m.guest.read32(ERDMA_R_MAC_HI), uint32_t{mac[0]} << 8 | mac[1]);
    EXPECT_EQ(m.guest.read32(ERDMA_R_MAC_LO), uint32_t{mac[2]} << 24 | mac[3] << 16 | mac[4] << 8 | mac[5]);
    m.guest.write32(ERDMA_R_CTRL, ERDMA_CTRL_RESET);
    EXPECT_EQ(m.guest.read32(ERDMA_R_STATUS), ERDMA_STATUS_RESET_DONE);
    m.guest.programQueues();
    m.guest.write32(ERDMA_R_CTRL, ERDMA_CTRL_INIT);
    EXPECT_EQ(m.guest.read32(ERDMA_R_STATUS), ERDMA_STATUS_INIT_DONE);
    EXPECT_TRUE(setFaults(m.device, "dead") == std::nullopt);
    EXPECT_EQ(m.guest.read32(ERDMA_R_VERSION), ERDMA_ALL_ONES);
}

// ---- a driver that knows nothing but erdma_hw.h ----

class Driver {
public:
    explicit Driver(const erdma_config& config = testConfig()) : m(128, config) {
        FakeMemory& memory = m.guest.memory();
        sq_ = memory.allocate(ERDMA_CMDQ_OUTSTANDING * ERDMA_CMD_ENTRY_BYTES);
        cq_ = memory.allocate(kDepth * ERDMA_CQE_BYTES);
        cmdEq = memory.allocate(ERDMA_CMD_EQ_DEPTH * ERDMA_EQE_BYTES);
        aeq = memory.allocate(ERDMA_AEQ_DEPTH * ERDMA_EQE_BYTES);
        records = memory.allocate(4 * ERDMA_DBREC_BYTES);
        address(ERDMA_R_CMD_SQ_LO, ERDMA_R_CMD_SQ_HI, sq_);
        address(ERDMA_R_CMD_CQ_LO, ERDMA_R_CMD_CQ_HI, cq_);
        address(ERDMA_R_CMD_EQ_LO, ERDMA_R_CMD_EQ_HI, cmdEq);
        address(ERDMA_R_AEQ_LO, ERDMA_R_AEQ_HI, aeq);
        m.guest.write32(ERDMA_R_CMD_DEPTH, kDepth);
        m.guest.write32(ERDMA_R_CMD_EQ_DEPTH, ERDMA_CMD_EQ_DEPTH);
        m.guest.write32(ERDMA_R_AEQ_ENTRIES, ERDMA_AEQ_DEPTH);
        m.guest.write64(ERDMA_R_CMD_SQ_REC, records);
        m.guest.write64(ERDMA_R_CMD_CQ_REC, records + 8);
        m.guest.write64(ERDMA_R_CMD_EQ_REC, records + 16);
        m.guest.write64(ERDMA_R_AEQ_REC, records + 24);
        m.guest.write32(ERDMA_R_CTRL, ERDMA_CTRL_INIT);
    }

    // Status, and the results in resp.
    template <typename T> uint32_t command(uint64_t sub, uint64_t opcode, T request) {
        static_assert(sizeof(T) <= ERDMA_CMD_ENTRY_BYTES);
        const uint32_t wqebbs = ERDMA_CMD_ENTRY_BYTES / ERDMA_WQEBB_BYTES;
        const uint64_t at = sq_ + pi_ % kDepth * ERDMA_WQEBB_BYTES;
        pi_ += wqebbs;
        request.header = in(ERDMA_CMDH_WQEBBS_M1, wqebbs - 1) | in(ERDMA_CMDH_COOKIE, 77) | in(ERDMA_CMDH_SUB, sub) |
                         in(ERDMA_CMDH_OPCODE, opcode) | in(ERDMA_CMDH_PI_AFTER, pi_ & 0xffff);
        std::array<std::byte, ERDMA_CMD_ENTRY_BYTES> entry{};
        std::memcpy(entry.data(), &request, sizeof(request));
        m.guest.memory().write(at, entry);
        m.guest.write64(ERDMA_R_CMD_SQ_BELL, in(ERDMA_DB_CMD_PI, pi_ & 0xffff));
        m.guest.settle();

        erdma_cmd_cqe cqe{};
        m.guest.memory().read(cq_ + ci_ % kDepth * ERDMA_CQE_BYTES, std::as_writable_bytes(std::span(&cqe, 1)));
        const uint32_t header = byteSwapped(cqe.header);
        EXPECT_EQ((header & ERDMA_CQE_OWNER) != 0, (ci_ & kDepth) == 0) << "no completion";
        EXPECT_EQ(of(ERDMA_CQE_QTYPE, header), uint64_t{ERDMA_CQE_QTYPE_CMD});
        EXPECT_EQ(of(ERDMA_CQE_OPCODE, header), opcode);
        EXPECT_EQ(byteSwapped(cqe.sq_index) % kDepth, (pi_ - wqebbs) % kDepth);
        for (size_t i = 0; i < 2; ++i)
            resp[i] = byteSwapped(cqe.resp[2 * i]) | uint64_t{byteSwapped(cqe.resp[2 * i + 1])} << 32;
        ++ci_;
        return static_cast<uint32_t>(of(ERDMA_CQE_SYNDROME, header));
    }
    uint32_t createEq(uint8_t eqn, uint64_t ring, uint8_t vector, uint8_t logDepth = 4) {
        erdma_cmd_create_eq request{};
        request.ring = ring;
        request.vector = vector;
        request.eqn = eqn;
        request.log_depth = logDepth;
        request.type = ERDMA_EQ_TYPE_CEQ;
        request.rec_lo = static_cast<uint32_t>(records);
        request.rec_hi = static_cast<uint32_t>(records >> 32);
        return command(ERDMA_SUB_COMMON, ERDMA_CMD_CREATE_EQ, request);
    }
    // As for a kernel: one contiguous ring.
    uint32_t createCq(uint32_t cqn, uint32_t eqn, uint64_t ring, uint32_t logDepth = 6) {
        erdma_cmd_create_cq request{};
        request.cfg0 =
            in32(ERDMA_CQ0_LOG_DEPTH, logDepth) | in32(ERDMA_CQ0_CQN, cqn) | in32(ERDMA_CQ0_PAGE, ERDMA_CQ_KERNEL_PAGE);
        request.cfg1 = in32(ERDMA_CQ1_EQN, eqn) | in32(ERDMA_CQ1_COUNT, 1);
        request.buf_lo = static_cast<uint32_t>(ring);
        request.buf_hi = static_cast<uint32_t>(ring >> 32);
        request.rec = records;
        return command(ERDMA_SUB_RDMA, ERDMA_CMD_CREATE_CQ, request);
    }
    uint32_t createQp(uint32_t qpn, uint32_t sendCqn, uint32_t recvCqn, uint64_t sq, uint64_t rq, uint32_t pd) {
        erdma_cmd_create_qp request{};
        request.cfg0 = in32(ERDMA_QP0_LOG_SQ, 5) | in32(ERDMA_QP0_QPN, qpn);
        request.cfg1 = in32(ERDMA_QP1_LOG_RQ, 3) | in32(ERDMA_QP1_PD, pd);
        request.sq_cfg = in32(ERDMA_QPQ_PAGE, ERDMA_QP_KERNEL_PAGE) | in32(ERDMA_QPQ_CQN, sendCqn);
        request.rq_cfg = in32(ERDMA_QPQ_PAGE, ERDMA_QP_KERNEL_PAGE) | in32(ERDMA_QPQ_CQN, recvCqn);
        request.sq_buf = sq;
        request.rq_buf = rq;
        request.sq_table = in32(ERDMA_QPT_COUNT, 1);
        request.rq_table = in32(ERDMA_QPT_COUNT, 1);
        return command(ERDMA_SUB_RDMA, ERDMA_CMD_CREATE_QP, request);
    }
    // EQ 1, CQs 3 (send) and 4 (receive), queue pair 6 in PD 2.
    void oneQueuePair() {
        FakeMemory& memory = m.guest.memory();
        ceq = memory.allocate(16 * ERDMA_EQE_BYTES);
        scq = memory.allocate(64 * ERDMA_CQE_BYTES);
        rcq = memory.allocate(64 * ERDMA_CQE_BYTES);
        sq = memory.allocate(32 * ERDMA_WQEBB_BYTES);
        rq = memory.allocate(8 * ERDMA_RQE_BYTES);
        ASSERT_EQ(createEq(1, ceq, 5), 0u);
        ASSERT_EQ(createCq(3, 1, scq), 0u);
        ASSERT_EQ(createCq(4, 1, rcq), 0u);
        ASSERT_EQ(createQp(6, 3, 4, sq, rq, 2), 0u);
        EXPECT_EQ(of(ERDMA_QP_COOKIE, resp[0]), 6u);
    }
    erdma_cqe entry(uint64_t ring, uint32_t index) {
        erdma_cqe cqe{};
        m.guest.memory().read(ring + index * ERDMA_CQE_BYTES, std::as_writable_bytes(std::span(&cqe, 1)));
        return cqe;
    }
    std::vector<std::byte> dump(uint64_t sub, uint64_t opcode, uint32_t index) {
        erdma_cmd_dump request{};
        request.index = index;
        request.target = m.guest.memory().allocate(ERDMA_STATS_BYTES);
        request.target_len = ERDMA_STATS_BYTES;
        EXPECT_EQ(command(sub, opcode, request), 0u);
        std::vector<std::byte> block = m.guest.memory().copy(request.target, ERDMA_STATS_BYTES);
        erdma_dump_head head{};
        std::memcpy(&head, block.data(), sizeof(head));
        EXPECT_EQ(head.magic, ERDMA_DUMP_MAGIC);
        EXPECT_EQ(head.index, index);
        EXPECT_GT(head.len, sizeof(head));
        return block;
    }

    static constexpr uint32_t kDepth = ERDMA_CMDQ_OUTSTANDING * ERDMA_CMD_ENTRY_BYTES / ERDMA_WQEBB_BYTES;
    Machine m;
    uint64_t cmdEq = 0, aeq = 0, records = 0, ceq = 0, scq = 0, rcq = 0, sq = 0, rq = 0;
    uint64_t resp[2]{};

private:
    void address(uint64_t low, uint64_t high, uint64_t value) {
        m.guest.write32(high, static_cast<uint32_t>(value >> 32));
        m.guest.write32(low, static_cast<uint32_t>(value));
    }
    uint64_t sq_ = 0, cq_ = 0;
    uint32_t pi_ = 0, ci_ = 0;
};

// ---- commands ----

TEST(HwLayout, QueryDevice) {
    erdma_config config = testConfig();
    config.max_cqe_log = 13;
    config.max_recv_wr_log = 11;
    config.max_mr_size_log = 37;
    config.default_cc = 3;
    config.qblock = 9;
    config.firmware_version = 0x00123456;
    for (const uint32_t bits : {0u, 1u, 2u, 4u, 8u, 15u}) {
        config.atomic = bits & 1;
        config.multilevel_mtt = bits & 2;
        config.extended_doorbells = bits & 4;
        config.mpa_crc = bits & 2;
        config.rfc7306 = bits & 1;
        config.ipv6 = bits & 8;
        Driver d(config);
        ASSERT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_QUERY_DEVICE, erdma_cmd_plain{}), 0u);
        EXPECT_EQ(of(ERDMA_QD0_LOG_CQE, d.resp[0]), 13u);
        EXPECT_EQ(of(ERDMA_QD0_LOG_RECV_WR, d.resp[0]), 11u);
        EXPECT_EQ(of(ERDMA_QD0_LOG_MR_SIZE, d.resp[0]), 37u);
        EXPECT_EQ(of(ERDMA_QD1_LOCAL_KEY, d.resp[1]), kLocalDmaKey);
        EXPECT_EQ(of(ERDMA_QD1_CC, d.resp[1]), 3u);
        EXPECT_EQ(of(ERDMA_QD1_QBLOCKS, d.resp[1]), 9u);
        EXPECT_EQ(of(ERDMA_QD1_LOG_MW, d.resp[1]), 0u);
        const uint64_t flags = of(ERDMA_QD0_FLAGS, d.resp[0]);
        EXPECT_EQ((flags & ERDMA_CAP_ATOMIC) != 0, config.atomic);
        EXPECT_EQ((flags & ERDMA_CAP_MTT_VA) != 0, config.multilevel_mtt);
        EXPECT_EQ((flags & ERDMA_CAP_EXTEND_DB) != 0, config.extended_doorbells);
        EXPECT_NE(flags & ERDMA_CAP_QUERY_QC, 0u);
        const uint64_t model = of(ERDMA_QD0_MODEL, d.resp[0]);
        EXPECT_EQ((model & ERDMA_MODEL_MPA_CRC) != 0, config.mpa_crc);
        EXPECT_EQ((model & ERDMA_MODEL_RFC7306) != 0, config.rfc7306);
        EXPECT_NE(model & ERDMA_MODEL_CHECK, 0u);
        EXPECT_NE(model & ERDMA_MODEL_FLOW, 0u);
        EXPECT_EQ((flags & ERDMA_CAP_IPV6) != 0, config.ipv6);
        EXPECT_EQ(d.m.device.adapter().maxQps(), of(ERDMA_QD1_QBLOCKS, d.resp[1]) * ERDMA_QPS_PER_BLOCK);
        ASSERT_EQ(d.command(ERDMA_SUB_COMMON, ERDMA_CMD_QUERY_FW_INFO, erdma_cmd_plain{}), 0u);
        EXPECT_EQ(d.resp[0], 0x00123456u);
    }
}

TEST(HwLayout, EventQueues) {
    Driver d;
    ASSERT_EQ(d.createEq(7, 0x12'3456'7000, 9, 11), 0u);
    const std::vector<std::byte> block = d.dump(ERDMA_SUB_COMMON, ERDMA_CMD_QUERY_EQC, 8);
    EXPECT_EQ(loadLe16(block, 16), 1u << 11);
    EXPECT_EQ(loadLe16(block, 18), 9u);
    EXPECT_EQ(loadLe64(block, 32), 0x12'3456'7000u);
    EXPECT_EQ(loadLe64(block, 40), d.records);
    erdma_cmd_destroy_eq request{};
    request.vector = 9;
    request.eqn = 7;
    request.type = ERDMA_EQ_TYPE_CEQ;
    EXPECT_EQ(d.command(ERDMA_SUB_COMMON, ERDMA_CMD_DESTROY_EQ, request), 0u);
    EXPECT_EQ(d.command(ERDMA_SUB_COMMON, ERDMA_CMD_DESTROY_EQ, request), uint32_t{ENOENT});
}

TEST(HwLayout, CompletionQueues) {
    erdma_config config = testConfig();
    config.extended_doorbells = true;
    Driver d(config);
    ASSERT_EQ(d.createEq(2, 0x4000, 1), 0u);
    ASSERT_EQ(d.createCq(0x1234 % d.m.device.adapter().maxCqs(), 2, 0x98'7654'3000, 9), 0u);
    const CompletionQueue* kernel = d.m.device.findCq(0x1234 % d.m.device.adapter().maxCqs());
    ASSERT_TRUE(kernel);
    EXPECT_EQ(kernel->eqn(), 2u);
    EXPECT_EQ(kernel->depthLog(), 9u);
    EXPECT_EQ(kernel->ring().firstAddress(), 0x98'7654'3000u);

    // As for a process: a table of pages, an offset, a doorbell page of its own.
    erdma_cmd_ext_db pages{};
    pages.wanted = ERDMA_EXT_DB_ALL;
    ASSERT_EQ(d.command(ERDMA_SUB_COMMON, ERDMA_CMD_ALLOC_DB, pages), 0u);
    pages.sq_page = static_cast<uint16_t>(of(ERDMA_EXT_DB_RESP_SQ, d.resp[0]));
    pages.rq_page = static_cast<uint16_t>(of(ERDMA_EXT_DB_RESP_RQ, d.resp[0]));
    pages.cq_page = static_cast<uint16_t>(of(ERDMA_EXT_DB_RESP_CQ, d.resp[0]));
    const uint64_t table = d.m.guest.memory().allocate(64);
    for (uint64_t i = 0; i < 3; ++i)
        d.m.guest.memory().put64(table + 8 * i, 0x50000 + 0x4000 * i);
    erdma_cmd_create_cq request{};
    request.cfg0 = in32(ERDMA_CQ0_LOG_DEPTH, 9) | in32(ERDMA_CQ0_CQN, 5) | in32(ERDMA_CQ0_PAGE, 13 - 12);
    request.cfg1 = in32(ERDMA_CQ1_EQN, 2) | in32(ERDMA_CQ1_COUNT, 3) | ERDMA_CQ1_TABLE | ERDMA_CQ1_DB_VALID;
    request.buf_lo = static_cast<uint32_t>(table);
    request.first_offset = 0x1020;
    request.rec = d.records + 8;
    request.cfg2 = in32(ERDMA_CQ2_DB_PAGE, pages.cq_page);
    ASSERT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_CREATE_CQ, request), 0u);
    const CompletionQueue* user = d.m.device.findCq(5);
    ASSERT_TRUE(user);
    EXPECT_EQ(user->ring().firstAddress(), 0x51020u);
    EXPECT_EQ(user->ring().pageCount(), 3u);
    const std::vector<std::byte> block = d.dump(ERDMA_SUB_RDMA, ERDMA_CMD_QUERY_CQC, 5);
    EXPECT_EQ(loadLe64(block, 32), d.records + 8);
    // Another page than one that was handed out: refused, so the field is where the model looks for it.
    request.cfg0 = in32(ERDMA_CQ0_LOG_DEPTH, 9) | in32(ERDMA_CQ0_CQN, 6) | in32(ERDMA_CQ0_PAGE, 13 - 12);
    request.cfg2 = in32(ERDMA_CQ2_DB_PAGE, 0x7fff);
    EXPECT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_CREATE_CQ, request), uint32_t{EINVAL});

    // The same for a queue pair, which names two.
    erdma_cmd_create_qp qp{};
    qp.cfg0 = in32(ERDMA_QP0_LOG_SQ, 2) | in32(ERDMA_QP0_QPN, 9);
    qp.sq_cfg = in32(ERDMA_QPQ_CQN, 5) | ERDMA_QPQ_DB_VALID;
    qp.rq_cfg = in32(ERDMA_QPQ_CQN, 5);
    qp.sq_table = qp.rq_table = in32(ERDMA_QPT_COUNT, 1);
    const uint64_t both[] = {in(ERDMA_QPD_SQ, pages.sq_page), in(ERDMA_QPD_RQ, pages.rq_page)};
    for (const uint64_t one : both) {
        qp.db_pages = static_cast<uint32_t>(one);
        EXPECT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_CREATE_QP, qp), uint32_t{EINVAL});
    }
    qp.db_pages = static_cast<uint32_t>(both[0] | both[1]);
    EXPECT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_CREATE_QP, qp), 0u);

    erdma_cmd_word destroy{};
    destroy.value = 5;
    EXPECT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_DESTROY_CQ, destroy), 0u);
    EXPECT_FALSE(d.m.device.findCq(5));
    EXPECT_EQ(d.command(ERDMA_SUB_COMMON, ERDMA_CMD_FREE_DB, pages), 0u);
    EXPECT_EQ(d.command(ERDMA_SUB_COMMON, ERDMA_CMD_FREE_DB, pages), uint32_t{ENOENT});

    erdma_cmd_conf_device conf{};
    conf.cfg = ERDMA_CONF_PAGE_VALID | in32(ERDMA_CONF_PAGE_SHIFT, 12);
    EXPECT_EQ(d.command(ERDMA_SUB_COMMON, ERDMA_CMD_CONF_DEVICE, conf), 0u);
    conf.cfg = ERDMA_CONF_PAGE_VALID | in32(ERDMA_CONF_PAGE_SHIFT, 16);
    EXPECT_EQ(d.command(ERDMA_SUB_COMMON, ERDMA_CMD_CONF_DEVICE, conf), uint32_t{EOPNOTSUPP});
}

TEST(HwLayout, QueuePairs) {
    Driver d;
    d.oneQueuePair();
    const QueuePair* kernel = d.m.device.findQp(6);
    ASSERT_TRUE(kernel);
    EXPECT_EQ(kernel->config().pd, 2u);
    EXPECT_EQ(kernel->config().sqDepthLog, 5u);
    EXPECT_EQ(kernel->config().rqDepthLog, 3u);
    EXPECT_EQ(kernel->config().sendCqn, 3u);
    EXPECT_EQ(kernel->config().recvCqn, 4u);
    EXPECT_EQ(kernel->config().sq.firstAddress(), d.sq);
    EXPECT_EQ(kernel->config().rq.firstAddress(), d.rq);

    // As for a process: four pages in the command for one ring, a table for the other.
    FakeMemory& memory = d.m.guest.memory();
    const uint64_t table = memory.allocate(64);
    memory.put64(table, 0x70000);
    memory.put64(table + 8, 0x90000);
    erdma_cmd_create_qp request{};
    request.cfg0 = in32(ERDMA_QP0_LOG_SQ, 9) | in32(ERDMA_QP0_QPN, 7);
    request.cfg1 = in32(ERDMA_QP1_LOG_RQ, 7) | in32(ERDMA_QP1_PD, 0x12345);
    request.sq_cfg = in32(ERDMA_QPQ_PAGE, 0) | in32(ERDMA_QPQ_CQN, 3);
    request.rq_cfg = in32(ERDMA_QPQ_PAGE, 1) | in32(ERDMA_QPQ_CQN, 4);
    request.sq_buf = 0x10000;
    for (uint64_t i = 0; i < 3; ++i)
        request.sq_pages[i] = 0x20000 + 0x10000 * i;
    request.sq_table = in32(ERDMA_QPT_COUNT, 4);
    request.rq_buf = table;
    request.rq_table = in32(ERDMA_QPT_COUNT, 2) | ERDMA_QPT_TABLE | (0x1000 & ERDMA_QPT_OFFSET);
    request.sq_rec = d.records;
    request.rq_rec = d.records + 8;
    ASSERT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_CREATE_QP, request), 0u);
    QueuePair* user = d.m.device.findQp(7);
    ASSERT_TRUE(user);
    EXPECT_EQ(user->config().pd, 0x12345u);
    const uint64_t pages[] = {0x10000, 0x20000, 0x30000, 0x40000};
    for (uint64_t i = 0; i < 4; ++i) {
        memory.put64(pages[i], 1000 + i);
        std::array<std::byte, 8> raw{};
        ASSERT_TRUE(user->config().sq.read(d.m.host, i * 4096, raw));
        EXPECT_EQ(loadLe64(raw, 0), 1000 + i);
    }
    EXPECT_EQ(user->config().rq.firstAddress(), 0x71000u);
    const std::vector<std::byte> block = d.dump(ERDMA_SUB_RDMA, ERDMA_CMD_QUERY_QPC, 7);
    EXPECT_EQ(load8(block, 18), 12);
    EXPECT_EQ(load8(block, 26), 13);
    EXPECT_EQ(loadLe64(block, 96), d.records);
    EXPECT_EQ(loadLe64(block, 104), d.records + 8);

    erdma_cmd_modify_qp modify{};
    modify.cfg = in32(ERDMA_MODIFY_STATE, ERDMA_QP_RTS) | in32(ERDMA_MODIFY_CC, 2) | in32(ERDMA_MODIFY_QPN, 7);
    modify.peer_cookie = 0x01020304;
    modify.peer_ip = byteSwapped(uint32_t{0x0a4d0001});
    modify.own_ip = byteSwapped(uint32_t{0x0a4d0002});
    modify.peer_port = byteSwapped(uint16_t{0x1234});
    modify.own_port = byteSwapped(uint16_t{0x5678});
    modify.send_nxt = 0x11111111;
    modify.recv_nxt = 0x22222222;
    ASSERT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_MODIFY_QP, modify), 0u);
    EXPECT_EQ(user->state(), QpState::Rts);
    const Handover& link = user->handover();
    EXPECT_EQ(link.congestionControl, 2);
    EXPECT_EQ(link.cookie, 0x01020304u);
    EXPECT_EQ(link.peerIp, 0x0a4d0001u);
    EXPECT_EQ(link.ownIp, 0x0a4d0002u);
    EXPECT_EQ(link.peerPort, 0x1234);
    EXPECT_EQ(link.ownPort, 0x5678);
    EXPECT_EQ(link.sendStart, 0x11111111u);
    EXPECT_EQ(link.recvStart, 0x22222222u);

    modify = {};
    modify.cfg = in32(ERDMA_MODIFY_STATE, ERDMA_QP_ERROR) | in32(ERDMA_MODIFY_QPN, 7);
    ASSERT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_MODIFY_QP, modify), 0u);
    EXPECT_EQ(user->state(), QpState::Error);

    const QueuePair* second = d.m.device.findQp(6);
    modify = {};
    modify.cfg = in32(ERDMA_MODIFY_STATE, ERDMA_QP_RTS) | in32(ERDMA_MODIFY_QPN, 6);
    modify.peer_cookie = ERDMA_MODIFY_COOKIE_IPV6 | in32(ERDMA_MODIFY_COOKIE_QPN, 0x12345);
    modify.flow_label = byteSwapped(uint32_t{0xABCDE});
    modify.peer_ip6[0] = modify.own_ip6[0] = 0xFD;
    modify.peer_ip6[15] = 2;
    modify.own_ip6[15] = 1;
    ASSERT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_MODIFY_QP, modify), 0u);
    EXPECT_EQ(second->handover().flowLabel, 0xABCDEu);
    EXPECT_EQ(second->handover().peerIp, IpAddress(uint64_t{0xFD} << 56, 2));
    EXPECT_EQ(second->handover().ownIp, IpAddress(uint64_t{0xFD} << 56, 1));
    erdma_cmd_reflush reflush{};
    reflush.qpn = 7;
    reflush.sq_pi = 2;
    reflush.rq_pi = 3;
    ASSERT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_REFLUSH, reflush), 0u);
    EXPECT_EQ(user->snapshot().sqPi, 2);
    EXPECT_EQ(user->snapshot().rqPi, 3);
    erdma_cmd_word destroy{};
    destroy.value = 7;
    EXPECT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_DESTROY_QP, destroy), 0u);
    EXPECT_FALSE(d.m.device.findQp(7));
}

TEST(HwLayout, MemoryRegions) {
    const uint32_t rights[] = {ERDMA_ACCESS_REMOTE_ATOMIC, ERDMA_ACCESS_LOCAL_READ, ERDMA_ACCESS_LOCAL_WRITE,
                               ERDMA_ACCESS_REMOTE_READ, ERDMA_ACCESS_REMOTE_WRITE};
    Driver d;
    MrTable& regions = d.m.device.regions();
    for (uint32_t i = 0; i < std::size(rights); ++i) {
        const uint32_t index = 0x100 + i, key = 0x21 + i, pd = 0x3cafe + i;
        erdma_cmd_reg_mr request{};
        request.cfg0 = ERDMA_MR0_VALID | in32(ERDMA_MR0_KEY, key) | in32(ERDMA_MR0_INDEX, index);
        request.cfg1 = in32(ERDMA_MR1_PD, pd) | in32(ERDMA_MR1_TYPE, ERDMA_MR_NORMAL) | rights[i];
        request.start = 0x7f00'0000'0123;
        request.len_lo = 0x2800;
        request.cfg2 = in32(ERDMA_MR2_PAGE_SHIFT, 12) | in32(ERDMA_MR2_LEVEL, 0) | in32(ERDMA_MR2_COUNT, 3);
        for (uint64_t page = 0; page < 3; ++page)
            request.pages[page] = 0x200000 + 0x10000 * page;
        ASSERT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_REG_MR, request), 0u) << i;
        const uint32_t stag = in32(ERDMA_STAG_INDEX, index) | in32(ERDMA_STAG_KEY, key);
        const auto check = [&](uint32_t tag, uint32_t in, uint64_t addr, uint64_t length, uint32_t need) {
            return regions.check({tag, in, addr, length, need, Side::Remote});
        };
        for (const uint32_t right : rights)
            EXPECT_EQ(check(stag, pd, request.start, 1, right), right == rights[i] ? MrFault::None : MrFault::Rights);
        EXPECT_EQ(check(stag, pd, request.start, 0x2800, rights[i]), MrFault::None);
        EXPECT_EQ(check(stag, pd, request.start, 0x2801, rights[i]), MrFault::Bounds);
        EXPECT_EQ(check(stag, pd, request.start - 1, 1, rights[i]), MrFault::Bounds);
        EXPECT_EQ(check(stag, pd + 1, request.start, 1, rights[i]), MrFault::Pd);
        EXPECT_EQ(check(stag + 1, pd, request.start, 1, rights[i]), MrFault::Stag);
        EXPECT_EQ(check(stag + 0x100 * std::size(rights), pd, request.start, 1, rights[i]), MrFault::Stag);
    }
    // The second page is where the command says.
    erdma_cmd_reg_mr readable{};
    readable.cfg0 = ERDMA_MR0_VALID | in32(ERDMA_MR0_INDEX, 0x200);
    readable.cfg1 = in32(ERDMA_MR1_PD, 1) | ERDMA_ACCESS_LOCAL_READ;
    readable.start = 0x1000;
    readable.len_lo = 0x2000;
    readable.cfg2 = in32(ERDMA_MR2_PAGE_SHIFT, 12) | in32(ERDMA_MR2_COUNT, 2);
    readable.pages[0] = 0x300000;
    readable.pages[1] = 0x400000;
    ASSERT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_REG_MR, readable), 0u);
    d.m.guest.memory().put64(0x400008, 4711);
    std::array<std::byte, 8> raw{};
    EXPECT_EQ(regions.read({0x20000, 1, 0x2008, 8, access::kLocalRead, Side::User}, raw), MrFault::None);
    EXPECT_EQ(loadLe64(raw, 0), 4711u);

    erdma_cmd_word destroy{};
    destroy.value = in32(ERDMA_MR0_INDEX, 0x200);
    EXPECT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_DEREG_MR, destroy), 0u);
    EXPECT_EQ(regions.check({0x20000, 1, 0x2008, 8, access::kLocalRead, Side::User}), MrFault::Stag);
}

TEST(HwLayout, LongMemoryRegions) {
    Driver d;
    // 4 GiB and a page in pages of 4 KiB: both numbers need their high parts.
    const uint64_t size = (uint64_t{1} << 32) + 4096;
    const uint64_t count = size / 4096;
    erdma_cmd_reg_mr request{};
    request.cfg0 = ERDMA_MR0_VALID | in32(ERDMA_MR0_VERSION, 1) | in32(ERDMA_MR0_INDEX, 9);
    request.cfg1 = in32(ERDMA_MR1_PD, 1) | ERDMA_ACCESS_REMOTE_READ;
    request.len_lo = static_cast<uint32_t>(size);
    request.len_hi = static_cast<uint32_t>(size >> 32);
    request.cfg2 = in32(ERDMA_MR2_PAGE_SHIFT, 12) | in32(ERDMA_MR2_TABLE_PAGE, 0) | in32(ERDMA_MR2_LEVEL, 3) |
                   in32(ERDMA_MR2_COUNT, count & ((1u << ERDMA_MR2_COUNT_BITS) - 1));
    request.count_hi = static_cast<uint32_t>(count >> ERDMA_MR2_COUNT_BITS);
    request.root = 0x600000;
    ASSERT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_REG_MR, request), 0u);
    const auto check = [&](uint64_t length) {
        return d.m.device.regions().check({9 << 8, 1, 0, length, access::kRemoteRead, Side::Remote});
    };
    EXPECT_EQ(check(size), MrFault::None);
    EXPECT_EQ(check(size + 1), MrFault::Bounds);
    request.cfg0 = ERDMA_MR0_VALID | in32(ERDMA_MR0_VERSION, 1) | in32(ERDMA_MR0_INDEX, 10);
    request.count_hi = 0; // one page for all of it
    EXPECT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_REG_MR, request), uint32_t{EINVAL});
}

// Tables of 8 KiB: page 600 stands in the first leaf.
TEST(HwLayout, TablePages) {
    Driver d;
    FakeMemory& memory = d.m.guest.memory();
    const uint64_t root = memory.allocate(8192, 8192), leaf = memory.allocate(8192, 8192);
    memory.put64(root, leaf);
    memory.put64(leaf + 600 * 8, 0x700000);
    memory.put64(0x700010, 4711);
    erdma_cmd_reg_mr request{};
    request.cfg0 = ERDMA_MR0_VALID | in32(ERDMA_MR0_VERSION, 1) | in32(ERDMA_MR0_INDEX, 9);
    request.cfg1 = in32(ERDMA_MR1_PD, 1) | ERDMA_ACCESS_LOCAL_READ;
    request.len_lo = 1000 * 4096;
    request.cfg2 = in32(ERDMA_MR2_PAGE_SHIFT, 12) | in32(ERDMA_MR2_TABLE_PAGE, 13 - 12) | in32(ERDMA_MR2_LEVEL, 2) |
                   in32(ERDMA_MR2_COUNT, 1000);
    request.root = root;
    ASSERT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_REG_MR, request), 0u);
    std::array<std::byte, 8> raw{};
    ASSERT_EQ(d.m.device.regions().read({9 << 8, 1, 600 * 4096 + 16, 8, access::kLocalRead, Side::User}, raw),
              MrFault::None);
    EXPECT_EQ(loadLe64(raw, 0), 4711u);
}

TEST(HwLayout, OtherCommands) {
    Driver d;
    erdma_cmd_word mtu{};
    mtu.value = 1500;
    EXPECT_EQ(d.command(ERDMA_SUB_COMMON, ERDMA_CMD_CONF_MTU, mtu), 0u);
    mtu.value = 10;
    EXPECT_EQ(d.command(ERDMA_SUB_COMMON, ERDMA_CMD_CONF_MTU, mtu), uint32_t{EINVAL});
    const std::vector<std::byte> stats = d.dump(ERDMA_SUB_COMMON, ERDMA_CMD_GET_STATS, 0);
    EXPECT_LE(sizeof(erdma_dump_head) + ERDMA_STATS_COUNT * 8, load8(stats, 3));
    EXPECT_EQ(d.command(ERDMA_SUB_RDMA, 7, erdma_cmd_plain{}), uint32_t{EOPNOTSUPP});
}

// ---- completions and events ----

TEST(HwLayout, Completions) {
    Driver d;
    d.oneQueuePair();
    const Completion inv{.op = Op::RecvSendInv,
                         .queue = QueueType::Receive,
                         .syndrome = Syndrome::RecvPd,
                         .index = 0xabcd,
                         .qpn = 0x54321,
                         .word12 = 0x0a0b0c0d,
                         .bytes = 0x01020304};
    Completion imm = inv;
    imm.op = Op::RecvSendImm;
    d.m.device.adapter().cqs.complete(4, inv);
    d.m.device.adapter().cqs.complete(4, imm);
    const erdma_cqe first = d.entry(d.rcq, 0);
    const uint32_t header = byteSwapped(first.header);
    EXPECT_NE(header & ERDMA_CQE_OWNER, 0u);
    EXPECT_EQ(of(ERDMA_CQE_OPCODE, header), uint64_t{ERDMA_OP_RECV_INV});
    EXPECT_EQ(of(ERDMA_CQE_QTYPE, header), uint64_t{ERDMA_CQE_QTYPE_RQ});
    EXPECT_EQ(of(ERDMA_CQE_SYNDROME, header), uint64_t{ERDMA_SYN_RQ_PD});
    EXPECT_EQ(byteSwapped(first.qe_idx), 0xabcdu);
    EXPECT_EQ(byteSwapped(first.qpn), 0x54321u);
    EXPECT_EQ(byteSwapped(first.inv_stag), 0x0a0b0c0du);
    EXPECT_EQ(byteSwapped(first.byte_count), 0x01020304u);
    const erdma_cqe second = d.entry(d.rcq, 1);
    EXPECT_EQ(second.imm, 0x0a0b0c0du);
}

TEST(HwLayout, EventsAndDoorbells) {
    Driver d;
    d.oneQueuePair();
    // Arm: the next completion raises an event with the CQ's number.
    const uint64_t arm =
        in(ERDMA_CQDB_CQN, 3) | ERDMA_CQDB_ARM | in(ERDMA_CQDB_CI, 0) | in(ERDMA_CQDB_IDX, 0) | in(ERDMA_CQDB_CMDSN, 0);
    d.m.guest.write64(ERDMA_CQDB_OFFSET, arm);
    EXPECT_TRUE(d.m.device.findCq(3)->armed());
    EXPECT_FALSE(d.m.device.findCq(4)->armed());
    d.m.device.adapter().cqs.complete(3, {.op = Op::Send, .queue = QueueType::Send, .qpn = 6});
    erdma_ceqe ceqe{};
    d.m.guest.memory().read(d.ceq, std::as_writable_bytes(std::span(&ceqe, 1)));
    EXPECT_NE(ceqe.word & ERDMA_EQE_OWNER, 0u);
    EXPECT_EQ(of(ERDMA_CEQE_CQN, ceqe.word), 3u);
    EXPECT_EQ(of(ERDMA_CEQE_PI, ceqe.word), 1u);
    EXPECT_EQ(d.m.host.interruptsOf(5), 1u);
    // Solicited only: an ordinary completion says nothing.
    d.m.guest.write64(ERDMA_CQDB_OFFSET, in(ERDMA_CQDB_CQN, 3) | ERDMA_CQDB_ARM | ERDMA_CQDB_SOL |
                                             in(ERDMA_CQDB_CI, 1) | in(ERDMA_CQDB_CMDSN, 1));
    d.m.device.adapter().cqs.complete(3, {.op = Op::Send, .queue = QueueType::Send, .qpn = 6});
    EXPECT_TRUE(d.m.device.findCq(3)->armed());
    d.m.device.adapter().cqs.complete(3, {.op = Op::Send, .queue = QueueType::Send, .qpn = 6, .solicited = true});
    EXPECT_FALSE(d.m.device.findCq(3)->armed());
    // The EQ learns what was consumed, and interrupts again because the second entry was not.
    d.m.guest.write64(ERDMA_R_EQ_BELL(1), ERDMA_DB_EQ_ARM | in(ERDMA_DB_EQ_CI, 1));
    EXPECT_EQ(d.m.host.interruptsOf(5), 2u);

    d.m.device.adapter().events.raise(AsyncEvent::Access, 0x54321, 0x01020304);
    erdma_aeqe aeqe{};
    d.m.guest.memory().read(d.aeq, std::as_writable_bytes(std::span(&aeqe, 1)));
    EXPECT_NE(aeqe.header & ERDMA_EQE_OWNER, 0u);
    EXPECT_EQ(of(ERDMA_AEQE_TYPE, aeqe.header), uint64_t{ERDMA_AE_ACCESS});
    EXPECT_EQ(of(ERDMA_AEQE_SUBTYPE, aeqe.header), 0u);
    EXPECT_EQ(aeqe.object, 0x54321u);
    EXPECT_EQ(aeqe.data1, 0x01020304u);
    const size_t before = d.m.host.interruptsOf(0);
    d.m.guest.write64(ERDMA_R_AEQ_BELL, ERDMA_DB_EQ_ARM | in(ERDMA_DB_EQ_CI, 0)); // nothing consumed: again
    EXPECT_EQ(d.m.host.interruptsOf(0), before + 1);

    // The command queue tells of its completions when armed.
    d.m.guest.write64(ERDMA_R_CMD_CQ_BELL, ERDMA_CQDB_ARM | in(ERDMA_CQDB_CI, 4));
    d.command(ERDMA_SUB_RDMA, ERDMA_CMD_QUERY_DEVICE, erdma_cmd_plain{});
    EXPECT_NE(d.m.guest.memory().get64(d.cmdEq) & ERDMA_EQE_OWNER, 0u);
    EXPECT_EQ(d.m.count(Counter::BadDoorbells), 0u);

    d.m.guest.write64(ERDMA_SQDB_KERNEL_OFFSET, in(ERDMA_SQDB_QPN, 6) | in(ERDMA_SQDB_PI, 5));
    EXPECT_EQ(d.m.device.findQp(6)->snapshot().sqPi, 5);
    d.m.guest.write64(ERDMA_RQDB_OFFSET, in(ERDMA_RQDB_QPN, 6) | in(ERDMA_RQDB_PI, 7));
    EXPECT_EQ(d.m.device.findQp(6)->snapshot().rqPi, 7);
}

// A receive entry and a Send to it, both laid out by the driver's structures.
TEST(HwLayout, ReceiveEntry) {
    Driver d;
    d.oneQueuePair();
    FakeMemory& memory = d.m.guest.memory();
    const uint64_t sq2 = memory.allocate(4096), rq2 = memory.allocate(4096);
    ASSERT_EQ(d.createQp(8, 3, 4, sq2, rq2, 2), 0u);
    erdma_cmd_modify_qp modify{};
    for (const uint32_t qpn : {6u, 8u}) {
        modify.cfg = in32(ERDMA_MODIFY_STATE, ERDMA_QP_RTS) | in32(ERDMA_MODIFY_QPN, qpn);
        modify.peer_ip = modify.own_ip = byteSwapped(uint32_t{0x0a4d0001});
        modify.own_port = byteSwapped(static_cast<uint16_t>(qpn == 6 ? 1000 : 2000));
        modify.peer_port = byteSwapped(static_cast<uint16_t>(qpn == 6 ? 2000 : 1000));
        ASSERT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_MODIFY_QP, modify), 0u);
    }
    const uint64_t buffer = memory.allocate(4096);
    erdma_cmd_reg_mr mr{};
    mr.cfg0 = ERDMA_MR0_VALID | in32(ERDMA_MR0_INDEX, 9);
    mr.cfg1 = in32(ERDMA_MR1_PD, 2) | ERDMA_ACCESS_LOCAL_WRITE | ERDMA_ACCESS_LOCAL_READ;
    mr.start = buffer;
    mr.len_lo = 4096;
    mr.cfg2 = in32(ERDMA_MR2_PAGE_SHIFT, 12) | in32(ERDMA_MR2_COUNT, 1);
    mr.pages[0] = buffer;
    ASSERT_EQ(d.command(ERDMA_SUB_RDMA, ERDMA_CMD_REG_MR, mr), 0u);

    erdma_rqe rqe{};
    rqe.pi = 1;
    rqe.qpn = 8;
    rqe.addr = buffer + 64;
    rqe.length = 16;
    rqe.stag = 9 << 8;
    memory.write(rq2, bytesOf(rqe));
    d.m.guest.write64(ERDMA_RQDB_OFFSET, in(ERDMA_RQDB_QPN, 8) | in(ERDMA_RQDB_PI, 1));

    memory.put64(buffer, 0x0123456789abcdef);
    alignas(8) std::byte raw[ERDMA_WQEBB_BYTES]{};
    auto* sqe = reinterpret_cast<erdma_sqe_send*>(raw);
    sqe->header = in(ERDMA_SQE_OPCODE, ERDMA_OP_SEND) | in(ERDMA_SQE_SGL_LEN, 1) | in(ERDMA_SQE_QPN, 6) |
                  in(ERDMA_SQE_PI, 1) | ERDMA_SQE_CE;
    sqe->total_len = 8;
    sqe->sgl[0] = {.addr = buffer, .length = 8, .stag = 9 << 8};
    memory.write(d.sq, raw);
    d.m.guest.write64(ERDMA_SQDB_KERNEL_OFFSET, in(ERDMA_SQDB_QPN, 6) | in(ERDMA_SQDB_PI, 1));
    d.m.guest.settle();
    EXPECT_EQ(memory.get64(buffer + 64), 0x0123456789abcdefu);
    EXPECT_EQ(byteSwapped(d.entry(d.rcq, 0).byte_count), 8u);
    EXPECT_EQ(of(ERDMA_CQE_SYNDROME, byteSwapped(d.entry(d.scq, 0).header)), uint64_t{ERDMA_SYN_OK});
}

} // namespace
} // namespace erdma::test
