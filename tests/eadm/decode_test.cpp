// SPDX-License-Identifier: GPL-2.0-or-later
// eadm's decoder against the driver's own structures: what is stored through src/erdma_hw.h comes back as facts.
#include <array>
#include <bit>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "decode.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
extern "C" {
#include "erdma_hw.h"
}
#pragma GCC diagnostic pop

namespace {

using eadm::Bytes;
using eadm::Json;

template <typename Entry> Bytes bytesOf(const Entry& entry) {
    return {reinterpret_cast<const uint8_t*>(&entry), sizeof(entry)};
}

uint64_t place(uint64_t value, uint64_t mask) { return value << std::countr_zero(mask) & mask; }

uint64_t sqeHeader(uint64_t opcode, uint64_t blocks, uint64_t length, uint64_t flags) {
    return place(opcode, ERDMA_SQE_OPCODE) | place(blocks - 1, ERDMA_SQE_WQEBB_CNT) | place(length, ERDMA_SQE_SGL_LEN) |
           place(0xABCDE, ERDMA_SQE_QPN) | place(0x1234, ERDMA_SQE_PI) | flags;
}

// A request of up to four blocks that begins with one of the driver's structures.
template <typename Head> struct Sqe {
    alignas(8) std::array<uint8_t, 128> memory{};
    Head& head = *reinterpret_cast<Head*>(memory.data());
    uint8_t* rest = memory.data() + sizeof(Head);
};

template <typename Head> Bytes bytesOf(const Sqe<Head>& sqe) { return sqe.memory; }

TEST(EadmDecode, SendWithSegments) {
    Sqe<erdma_sqe_send> sqe;
    sqe.head.header = sqeHeader(ERDMA_OP_SEND_IMM, 2, 2, ERDMA_SQE_CE | ERDMA_SQE_SE);
    sqe.head.imm = __builtin_bswap32(0x11223344);
    sqe.head.total_len = 300;
    const erdma_sge parts[2] = {{0x123456789ABC, 100, 0x500}, {0x1000, 200, 0x6FF}};
    std::memcpy(sqe.rest, parts, sizeof(parts));
    const Json json = eadm::decodeSqe(bytesOf(sqe));
    EXPECT_EQ(json["op"], "SEND_IMM");
    EXPECT_EQ(json["qp"], 0xABCDE);
    EXPECT_EQ(json["pi"], 0x1234);
    EXPECT_EQ(json["blocks"], 2);
    EXPECT_EQ(json["imm"], "0x11223344");
    EXPECT_EQ(json["length"], 300);
    EXPECT_TRUE(json["signaled"] && json["solicited"]);
    EXPECT_FALSE(json["fence"] || json["inline"] || json["direct"]);
    EXPECT_EQ(json["sgl"].dump(), R"([{"addr":"0x123456789abc","length":100,"stag":"0x00000500"},)"
                                  R"({"addr":"0x1000","length":200,"stag":"0x000006ff"}])");
}

TEST(EadmDecode, InlineWrite) {
    Sqe<erdma_sqe_write> sqe;
    sqe.head.header = sqeHeader(ERDMA_OP_WRITE, 2, 5, ERDMA_SQE_INLINE | ERDMA_SQE_FENCE);
    sqe.head.total_len = 5;
    sqe.head.sink_stag = 0x100;
    sqe.head.sink_addr_lo = 0x89ABCDEF;
    sqe.head.sink_addr_hi = 0x1234567;
    std::memcpy(sqe.rest, "hello", 5);
    const Json json = eadm::decodeSqe(bytesOf(sqe));
    EXPECT_EQ(json["op"], "WRITE");
    EXPECT_EQ(json["data"], "68656c6c6f");
    EXPECT_EQ(json["sink_addr"], "0x123456789abcdef");
    EXPECT_EQ(json["sink_stag"], "0x00000100");
    EXPECT_TRUE(json["fence"]);
    EXPECT_FALSE(json.contains("imm"));
}

TEST(EadmDecode, ReadAtomicRegistrationInvalidation) {
    Sqe<erdma_sqe_read> read;
    read.head.header = sqeHeader(ERDMA_OP_READ_INV, 2, 1, 0);
    read.head.inv_stag = 0x777;
    read.head.len = 4096;
    read.head.sink_stag = 0x200;
    read.head.src = {0x5000, 4096, 0x300};
    Json json = eadm::decodeSqe(bytesOf(read));
    EXPECT_EQ(json["op"], "READ_INV");
    EXPECT_EQ(json["inv_stag"], "0x00000777");
    EXPECT_EQ(json["source"].dump(), R"({"addr":"0x5000","length":4096,"stag":"0x00000300"})");

    Sqe<erdma_sqe_atomic> atomic;
    atomic.head.header = sqeHeader(ERDMA_OP_ATOMIC_CAS, 2, 1, 0);
    atomic.head.swap_add = 7;
    atomic.head.compare = 9;
    atomic.head.remote = {0x8000, 8, 0x400};
    atomic.head.local = {0x9000, 8, 0x500};
    json = eadm::decodeSqe(bytesOf(atomic));
    EXPECT_EQ(json["op"], "ATOMIC_CAS");
    EXPECT_EQ(json["swap_add"], "0x7");
    EXPECT_EQ(json["compare"], "0x9");
    EXPECT_EQ(json["remote"]["addr"], "0x8000");
    EXPECT_EQ(json["local"]["stag"], "0x00000500");

    Sqe<erdma_sqe_fastreg> reg;
    reg.head.header = sqeHeader(ERDMA_OP_REG_MR, 2, 0, 0);
    reg.head.iova = 0xFFFF000;
    reg.head.len = 8192;
    reg.head.stag = 0x1234;
    reg.head.attrs = static_cast<uint32_t>(place(2, ERDMA_REG_MTT_CNT) | place(1, ERDMA_REG_MTT_TYPE)) |
                     ERDMA_ACCESS_LOCAL_READ | ERDMA_ACCESS_REMOTE_WRITE;
    json = eadm::decodeSqe(bytesOf(reg));
    EXPECT_EQ(json["op"], "REG_MR");
    EXPECT_EQ(json["pages"], 2);
    EXPECT_EQ(json["page_list"], "table");
    EXPECT_EQ(json["access"].dump(), R"(["local_read","remote_write"])");

    Sqe<erdma_sqe_local_inv> invalidate;
    invalidate.head.header = sqeHeader(ERDMA_OP_LOCAL_INV, 1, 0, 0);
    invalidate.head.stag = 0x99;
    EXPECT_EQ(eadm::decodeSqe(bytesOf(invalidate))["stag"], "0x00000099");
}

TEST(EadmDecode, ReceivesCompletionsEvents) {
    erdma_rqe rqe{};
    rqe.pi = 17;
    rqe.qpn = 5;
    rqe.addr = 0x4000;
    rqe.length = 64;
    rqe.stag = 0x200;
    EXPECT_EQ(eadm::decodeRqe(bytesOf(rqe)).dump(),
              R"({"pi":17,"qp":5,"addr":"0x4000","length":64,"stag":"0x00000200"})");

    erdma_cqe cqe{};
    cqe.header = __builtin_bswap32(static_cast<uint32_t>(ERDMA_CQE_OWNER | place(ERDMA_OP_RECV_INV, ERDMA_CQE_OPCODE) |
                                                         place(ERDMA_CQE_QTYPE_RQ, ERDMA_CQE_QTYPE) |
                                                         place(ERDMA_SYN_FLUSHED, ERDMA_CQE_SYNDROME)));
    cqe.qe_idx = __builtin_bswap32(0x1FFFF);
    cqe.qpn = __builtin_bswap32(7);
    cqe.inv_stag = __builtin_bswap32(0x345);
    cqe.byte_count = __builtin_bswap32(1000);
    EXPECT_EQ(eadm::decodeCqe(bytesOf(cqe)).dump(),
              R"({"owner":1,"op":"RECV_INV","queue":"rq","syndrome":"flushed","qp":7,"index":65535,"length":1000,)"
              R"("inv_stag":"0x00000345"})");

    erdma_cmd_cqe done{};
    done.header = __builtin_bswap32(static_cast<uint32_t>(place(2, ERDMA_CQE_QTYPE) | 12));
    done.sq_index = __builtin_bswap32(8);
    done.resp[0] = __builtin_bswap32(1);
    done.resp[1] = __builtin_bswap32(2);
    EXPECT_EQ(eadm::decodeCommandCqe(bytesOf(done)).dump(),
              R"({"owner":0,"queue":"cmd","status":12,"sq_index":8,"resp0":"0x200000001","resp1":"0x0"})");

    erdma_ceqe ceqe{};
    ceqe.word = place(33, ERDMA_CEQE_CQN) | place(99, ERDMA_CEQE_PI) | ERDMA_EQE_OWNER;
    EXPECT_EQ(eadm::decodeCeqe(bytesOf(ceqe)).dump(), R"({"owner":1,"cq":33,"pi":99})");

    erdma_aeqe aeqe{};
    aeqe.header = static_cast<uint32_t>(place(ERDMA_AE_ACCESS, ERDMA_AEQE_TYPE) | place(3, ERDMA_AEQE_SUBTYPE));
    aeqe.object = 12;
    EXPECT_EQ(eadm::decodeAeqe(bytesOf(aeqe)).dump(),
              R"({"owner":0,"type":"access","subtype":3,"object":12,"data":"0x0"})");
}

TEST(EadmDecode, Commands) {
    struct {
        erdma_cmd_word word;
        uint8_t rest[112];
    } command{};
    command.word.header = place(ERDMA_SUB_RDMA, ERDMA_CMDH_SUB) | place(ERDMA_CMD_DESTROY_QP, ERDMA_CMDH_OPCODE) |
                          place(9, ERDMA_CMDH_COOKIE) | place(40, ERDMA_CMDH_PI_AFTER) | place(3, ERDMA_CMDH_WQEBBS_M1);
    command.word.value = 77;
    EXPECT_EQ(eadm::decodeCommand(bytesOf(command)).dump(),
              R"({"command":"DESTROY_QP","sub":0,"opcode":2,"cookie":9,"pi":40,"blocks":4,"words":["0x4d"]})");
    EXPECT_EQ(eadm::commandName(ERDMA_SUB_COMMON, ERDMA_CMD_GET_STATS), "GET_STATS");
    EXPECT_EQ(eadm::commandName(3, 200), "unknown");
}

TEST(EadmDecode, RingOfSeveralBlocksAndHex) {
    eadm::RingPart part;
    part.entryBytes = ERDMA_WQEBB_BYTES;
    part.first = 6;
    part.count = 3;
    part.depth = 16;
    part.bytes.assign(96, 0);
    const uint64_t first = sqeHeader(ERDMA_OP_SEND, 2, 0, 0);
    const uint64_t second = sqeHeader(ERDMA_OP_LOCAL_INV, 1, 0, 0);
    std::memcpy(part.bytes.data(), &first, sizeof(first));
    std::memcpy(part.bytes.data() + 64, &second, sizeof(second));
    const Json list = eadm::decodeRing(*eadm::ringNamed("sq"), part, true);
    ASSERT_EQ(list.size(), 2u);
    EXPECT_EQ(list[0]["slot"], 6);
    EXPECT_EQ(list[0]["hex"].get<std::string>().size(), 128u);
    EXPECT_EQ(list[1]["slot"], 8);
    EXPECT_EQ(eadm::entryLine(eadm::decodeRing(*eadm::ringNamed("sq"), part, false)[1]),
              "[   8] op=LOCAL_INV qp=703710 pi=4660 blocks=1 stag=0x00000000\n");
}

// Whatever the memory holds, there is an answer and no access beyond it (the sanitizers watch).
TEST(EadmDecode, AnyBytes) {
    std::mt19937 random(1);
    for (int round = 0; round < 3000; ++round) {
        for (const char* word : {"sq", "rq", "cq", "eq", "cmdq", "cmdcq"}) {
            eadm::RingPart part;
            part.entryBytes = word == std::string_view("cmdq") ? 128 : word == std::string_view("eq") ? 16 : 32;
            part.count = 1 + static_cast<uint32_t>(random() % 5);
            part.depth = part.count;
            part.bytes.resize(size_t{part.count} * part.entryBytes);
            for (uint8_t& byte : part.bytes)
                byte = static_cast<uint8_t>(random());
            auto shape = *eadm::ringNamed(word);
            shape.asynchronous = random() % 2 == 0;
            for (const Json& entry : eadm::decodeRing(shape, part, true))
                EXPECT_FALSE(eadm::entryLine(entry).empty());
        }
    }
}

} // namespace
